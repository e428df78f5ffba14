"""Write converted weights in the layout of mmdet (ours), torchvision or timm."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ..common.files import replaced_whole
from .layouts import mmdet_names as mmdet
from .layouts import timm_names as timm
from .layouts import torchvision_names as torchvision
from .outcome import Report

TARGETS = {module.LAYOUT.name: module.LAYOUT for module in (mmdet, torchvision, timm)}
WEIGHT_SUFFIXES = ('.pth', '.pt', '.safetensors')


def save(
    converted: Mapping[str, Tensor], report: Report, path: str | PathLike[str], *, to: str
) -> None:
    """Write weights that `convert` returned.

    A `.pth` in mmdet's layout also stores in `meta` how the weights were trained. Only the backbone
    is written, without a classifier.

    Args:
        converted: Tensors by our names.
        report: The report of `convert` on them.
        path: A `.pth`, `.pt` or `.safetensors` file; replaced only when the new one is complete.
        to: `mmdet`, `torchvision` or `timm`.

    Raises:
        ValueError: If the layout or the suffix is unknown, or the target's library would compute
            different outputs with these weights.
        ImportError: If safetensors is needed and not installed.
    """
    path = Path(path).expanduser()
    if to not in TARGETS:
        raise ValueError(f'cannot write the layout {to!r}; it can be {", ".join(TARGETS)}')
    if path.suffix not in WEIGHT_SUFFIXES:
        raise ValueError(f'cannot write {path}; its suffix can be {", ".join(WEIGHT_SUFFIXES)}')
    if not path.parent.is_dir():
        raise ValueError(f'cannot write {path}; the folder {path.parent} does not exist')
    layout, origin = TARGETS[to], report.origin
    if layout is not mmdet.LAYOUT and origin.padding != layout.padding:
        raise ValueError(
            f"these weights were trained with padding='{origin.padding}', which {to} does not "
            f'support: its outputs would differ. Convert to mmdet, and set padding in the backbone'
        )
    tensors = {name: t.contiguous() for name, t in layout.from_ours(converted).items()}
    with replaced_whole(path) as partial:
        if path.suffix == '.safetensors':
            _save_safetensors(tensors, partial)
        elif layout is mmdet.LAYOUT:
            torch.save(dict(state_dict=tensors, meta=origin.to_meta()), partial)
        else:
            torch.save(tensors, partial)


def _save_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise ImportError('.safetensors needs safetensors: pip install safetensors') from error
    save_file(tensors, path)
