"""Rebuild a checkpoint's network in its own library and compare it with ours, tap by tap."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tap_modules import TAP_MODULES
from torch import Tensor, nn

from mbv2_backbone.arch import STAGES, TAP_NAMES
from mbv2_backbone.backbone import MobileNetV2Backbone
from mbv2_backbone.weights.checkpoint_files import read_checkpoint
from mbv2_backbone.weights.convert import convert, detect, unwrap
from mbv2_backbone.weights.layouts import keras_names as keras
from mbv2_backbone.weights.layouts import mmdet_names as mmdet
from mbv2_backbone.weights.layouts import mmseg_names as mmseg
from mbv2_backbone.weights.layouts import timm_names as timm
from mbv2_backbone.weights.layouts import torchvision_names as torchvision
from mbv2_backbone.weights.layouts.schema import Layout
from mbv2_backbone.weights.load import load_into

TIMM_NAMES = {
    0.35: 'mobilenetv2_035',
    0.5: 'mobilenetv2_050',
    0.75: 'mobilenetv2_075',
    1.0: 'mobilenetv2_100',
    1.4: 'mobilenetv2_140',
}


def compare_files(
    source: str | PathLike[str],
    converted: str | PathLike[str],
    *,
    prefix: str | None = None,
    allow_pickle: bool = False,
    image_size: int = 96,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Compare the feature maps of two checkpoint files, each in its own library's network.

    Args:
        source: The file that was converted.
        converted: The result of the conversion.
        prefix: Where to look in `source`.
        allow_pickle: Let `source` run arbitrary code. Only for files you trust.
        image_size: Side of the two random images.
        seed: Their seed.

    Returns:
        For each tap that both have: the largest absolute difference, and the largest absolute
        value in the source's map.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, image_size, image_size, generator=generator)
    wanted = file_taps(source, images, prefix=prefix, allow_pickle=allow_pickle)
    got = file_taps(converted, images)
    return {
        tap: ((got[tap] - wanted[tap]).abs().max().item(), wanted[tap].abs().max().item())
        for tap in TAP_NAMES
        if tap in wanted and tap in got
    }


def file_taps(
    path: str | PathLike[str],
    images: Tensor,
    *,
    prefix: str | None = None,
    allow_pickle: bool = False,
) -> dict[str, Tensor]:
    """Run a checkpoint file in the network of its own library; mmdet's layout runs in ours.

    Args:
        path: A local file.
        images: Normalised images `(N, 3, H, W)`.
        prefix: Where to look in the file.
        allow_pickle: Let the file run arbitrary code.

    Returns:
        The feature maps `(N, C, H', W')` by tap, as far as the checkpoint goes.
    """
    checkpoint = read_checkpoint(path, allow_pickle=allow_pickle)
    state_dict, _ = unwrap(checkpoint)
    layout, found = detect(state_dict, prefix)
    body = {k.removeprefix(found): v for k, v in state_dict.items() if k.startswith(found)}
    converted, report = convert(checkpoint, prefix=prefix)
    taps = [tap for tap in TAP_NAMES if _ours(tap) in converted]
    if layout is keras.LAYOUT:
        return keras_taps(_keras_model(Path(path), body, report.widen_factor, images), images)
    if layout not in _BUILDERS:
        raise ValueError(
            f'no installed library has networks of the layout {layout.name}, so there is nothing '
            f'to compare with; leave out --verify'
        )
    model = _BUILDERS[layout](report.widen_factor, report.origin, taps)
    if isinstance(model, MobileNetV2Backbone):
        load_into(model, checkpoint, prefix=prefix)
        with torch.no_grad():
            return dict(zip(taps, model.eval()(images), strict=True))
    model.load_state_dict(body, strict=False)
    return {t: v for t, v in torch_taps(layout, model, images).items() if t in taps}


def torch_taps(layout: Layout, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Run a torch network in eval mode and keep every tap's feature map.

    Args:
        layout: The network's layout, such as `torchvision_names.LAYOUT`.
        model: The network.
        images: Normalised images `(N, 3, H, W)`.
    """
    modules = dict(model.named_modules())
    found: dict[str, Tensor] = {}
    model.eval()  # mmdet's and mmseg's return nothing

    def keep(tap: str) -> Callable[..., None]:
        # A copy, because activations work in place.
        return lambda _module, _inputs, output: found.update({tap: output.clone()})

    with ExitStack() as stack:
        for tap, name in TAP_MODULES[layout].items():
            if name in modules:
                handle = modules[name].register_forward_hook(keep(tap))
                stack.callback(handle.remove)
        with torch.no_grad():
            model(images)
    return found


def keras_taps(model: Any, images: Tensor) -> dict[str, Tensor]:
    """Run a `keras.applications.MobileNetV2` and keep every tap's feature map, as `(N, C, H, W)`.

    Args:
        model: The Keras model.
        images: Normalised images `(N, 3, H, W)`.
    """
    from keras import Model, ops

    taps = TAP_MODULES[keras.LAYOUT]
    outputs = [model.get_layer(name).output for name in taps.values()]
    maps = Model(model.inputs, outputs)([images.permute(0, 2, 3, 1).numpy()], training=False)
    arrays = (torch.from_numpy(ops.convert_to_numpy(m).copy()) for m in maps)
    return {tap: a.permute(0, 3, 1, 2) for tap, a in zip(taps, arrays, strict=True)}


def _ours(tap: str) -> str:
    """Return the last tensor that a tap needs, in our names."""
    blocks = {stage.name: stage.num_blocks for stage in STAGES}
    stage, _, expand = tap.partition('.')
    if expand:
        return f'{stage}.0.expand_conv.bn.bias'
    unit = f'{stage}.{blocks[stage] - 1}.linear_conv' if stage in blocks else stage
    return f'{unit}.bn.bias'


def _torchvision_model(width: float, *_: Any) -> nn.Module:
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(weights=None, width_mult=width)


def _timm_model(width: float, *_: Any) -> nn.Module:
    create_model = _imported('timm', 'timm').create_model
    if width not in TIMM_NAMES:
        raise ValueError(
            f'timm has no MobileNetV2 of width {width:g}, so there is nothing to compare with'
        )
    return create_model(TIMM_NAMES[width])


def _mmseg_model(width: float, *_: Any) -> nn.Module:
    backbones = _imported('mmseg.models.backbones', 'onedl-mmsegmentation')
    return backbones.MobileNetV2(widen_factor=width)


def _our_model(width: float, origin: Any, taps: list[str]) -> nn.Module:
    norm_cfg = dict(type='BN', eps=origin.batch_norm_eps)
    return MobileNetV2Backbone(
        widen_factor=width, out_indices=taps, padding=origin.padding, norm_cfg=norm_cfg
    )


_BUILDERS = {
    torchvision.LAYOUT: _torchvision_model,
    timm.LAYOUT: _timm_model,
    mmseg.LAYOUT: _mmseg_model,
    mmdet.LAYOUT: _our_model,
}


def _keras_model(path: Path, body: Mapping[str, Tensor], width: float, images: Tensor) -> Any:
    os.environ.setdefault('KERAS_BACKEND', 'torch')
    library = _imported('keras', 'keras')
    applications = library.applications
    fresh = applications.MobileNetV2(
        alpha=width, weights=None, input_shape=(*images.shape[2:], 3), include_top=False
    )
    if path.suffix == '.keras' or _is_whole_model(path):
        loaded = _owner_of_backbone(library.saving.load_model(path, compile=False))
    else:
        biases = [t for name, t in body.items() if t.ndim == 1 and _is_classifier_bias(name)]
        loaded = applications.MobileNetV2(
            alpha=width,
            weights=None,
            include_top=bool(biases),
            classes=len(biases[0]) if biases else 1000,
        )
        loaded.load_weights(path)
    for layer in fresh.layers:
        layer.set_weights(loaded.get_layer(layer.name).get_weights() if layer.weights else [])
    return fresh


def _is_classifier_bias(name: str) -> bool:
    """Check whether a tensor is the bias of the classifier, which has one value per class."""
    layer, *_, variable = name.split('/')
    return layer in ('predictions', 'Logits', 'dense') and variable.startswith(('bias', '1'))


def _owner_of_backbone(model: Any) -> Any:
    """Return the model that has the backbone's layers: this one, or one inside it."""
    inner = [layer for layer in model.layers if hasattr(layer, 'layers')]
    return next(
        (m for m in (model, *inner) if any(layer.name == 'Conv1' for layer in m.layers)), model
    )


def _is_whole_model(path: Path) -> bool:
    import h5py

    with h5py.File(path) as root:
        return 'model_config' in root.attrs


def _imported(module: str, distribution: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f'comparing with the original needs {module.partition(".")[0]}: '
            f'pip install {distribution}'
        ) from error
