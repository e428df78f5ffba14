"""Forward pass of the backbone alone, compared with torchvision's and timm's."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mbv2_backbone.workbench.configs.machine import Machine
from mbv2_backbone.workbench.predict.fold import folded
from mbv2_backbone.workbench.predict.packed import pack_convolutions

from .exported import runtime_call
from .inputs import Size
from .models import settle_batch_norm
from .peers import folded_sequentials, timm_backbone, torchvision_backbone
from .timing import Call


def backbone_calls(
    cfg: Config,
    peers: Sequence[str],
    machine: Machine,
    *,
    batch_size: int,
    size: Size,
    runtimes: Sequence[str] = (),
    threads: int = 1,
) -> tuple[dict[str, Call], list[str]]:
    """Prepare the forward passes that are timed.

    Args:
        cfg: The config; its backbone is built with its width, taps and stride.
        peers: Of `torchvision` and `timm`.
        machine: What it runs on.
        batch_size: Images in a pass.
        size: Height and width of the images.
        runtimes: Of `onnxruntime` and `openvino`: the backbones exported to them, too.
        threads: Threads of the runtimes.

    Returns:
        The calls by name, ours first, and notes.
    """
    images = torch.randn(batch_size, 3, *size, generator=torch.Generator().manual_seed(0))
    images = images.to(machine.device)
    widen_factor = cfg.model.backbone.get('widen_factor', 1.0)
    models = {'ours': build_backbone(cfg)}
    builders = dict(torchvision=torchvision_backbone, timm=timm_backbone)
    models |= {peer: builders[peer](widen_factor) for peer in peers}
    calls: dict[str, Call] = {}
    for name, model in models.items():
        model.to(machine.device)
        settle_batch_norm(model, lambda model=model: model(images))
        fold = folded if name == 'ours' else folded_sequentials
        # timm's batch norms are no neighbours in a Sequential, so its folding is left out.
        small = fold(deepcopy(model)) if name != 'timm' else None
        calls |= _variants(name, model, small, images)
        for runtime in runtimes:
            if small is not None:
                call = runtime_call(runtime, deepcopy(small).cpu(), images.cpu(), threads=threads)
                calls[f'{name}, {runtime}'] = call
    taps = ', '.join(info.name for info in models['ours'].feature_info)
    notes = [
        f'ours gives {taps} and builds nothing after the last of them; torchvision runs to its '
        'last feature map (conv2), timm gives five maps up to 320 channels'
    ]
    return calls, notes


def build_backbone(cfg: Config, **changes: object) -> nn.Module:
    """Build a config's backbone with random weights, in eval mode, with some settings changed."""
    return MODELS.build(cfg.model.backbone | dict(init_cfg=None, **changes)).eval()


def _variants(
    name: str, model: nn.Module, small: nn.Module | None, images: torch.Tensor
) -> dict[str, Call]:
    last = torch.channels_last
    calls = {
        f'{name}, contiguous': _forward(model, images),
        f'{name}, channels_last': _forward(
            deepcopy(model).to(memory_format=last), images.contiguous(memory_format=last)
        ),
    }
    if small is not None:
        calls[f'{name}, folded, channels_last'] = _forward(
            small.to(memory_format=last), images.contiguous(memory_format=last)
        )
    if name == 'ours' and images.device.type == 'cpu':
        packed = deepcopy(small)
        pack_convolutions(packed)
        calls['ours, packed'] = _forward(packed, images.contiguous(memory_format=last))
    return calls


def _forward(model: nn.Module, images: torch.Tensor) -> Call:
    @torch.inference_mode()
    def call() -> object:
        return model(images)

    return call
