"""Initial weights from convolutions whose batch norms were folded in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from mbv2_backbone.backbone import MobileNetV2Backbone
from mbv2_backbone.common.files import replaced_whole
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.image import load_rgb
from mbv2_backbone.deploy.resizes import resize
from mbv2_backbone.weights.folded_norms import calibrate, folded_norms
from mbv2_backbone.weights.layouts.mmdet_names import LAYOUT
from mbv2_backbone.weights.load import load_into
from mbv2_backbone.weights.origin import Origin
from mbv2_backbone.weights.preprocessing import IMAGENET, MINUS_ONE_TO_ONE, Preprocessing
from mbv2_backbone.weights.tflite_files import variables_of
from mbv2_backbone.workbench.data.names import images_in

from .tflite import read_model

BATCH_NORM_EPS = 1e-3
MAX_IMAGES = 64
IMAGE_SIZE = (320, 320)


def renormalise(backbone: MobileNetV2Backbone, was: Preprocessing, will: Preprocessing) -> None:
    """Make a backbone whose first batch norm is folded take images that are normalised otherwise.

    The same numbers but at the image's edge, where the zeros of the padding mean another colour.
    """
    mean, std, new_mean, new_std = (
        torch.tensor(values).reshape(1, 3, 1, 1)
        for values in (was.mean, was.std, will.mean, will.std)
    )
    weight = backbone.conv1.conv.weight.data
    backbone.conv1.norm.bias.data += (weight * (new_mean - mean) / std).sum((1, 2, 3))
    weight *= new_std / std


def normalised(image: Tensor, preprocessing: Preprocessing = IMAGENET) -> Tensor:
    """Return `(H, W, 3)` uint8 RGB as `(1, 3, H, W)` float32."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return ((image.float() - mean) / std).permute(2, 0, 1)[None]


def make_weights(variables: Mapping[str, Tensor], images: Iterable[Tensor]) -> dict[str, Mapping]:
    """Return a checkpoint of `MobileNetV2Backbone`, and of mmdet's `MobileNetV2`.

    Args:
        variables: Of a detector of width 1, as `weights.tflite_files` reads them.
        images: `(H, W, 3)` uint8 RGB, for the statistics of the batch norms.

    Raises:
        UserError: If they are of another network.
    """
    backbone = MobileNetV2Backbone(
        out_indices=('conv2',), norm_cfg=dict(type='BN', eps=BATCH_NORM_EPS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mmdet's backbone pads symmetrically, so this one does
        load_into(backbone, variables)
    renormalise(backbone, MINUS_ONE_TO_ONE, IMAGENET)
    backbone.eval()
    calibrate(folded_norms(backbone), lambda: _run(backbone, map(normalised, images)))
    origin = Origin(IMAGENET, LAYOUT.padding, BATCH_NORM_EPS)
    return dict(state_dict=backbone.state_dict(), meta=origin.to_meta())


def _run(backbone: MobileNetV2Backbone, images: Iterable[Tensor]) -> None:
    for image in images:
        backbone(image)


def write_weights(
    model: str | PathLike[str], images: str | PathLike[str], out: str | PathLike[str]
) -> None:
    """Write the backbone of a `.tflite` detector, or of MediaPipe's npm package, as a `.pth`.

    Args:
        model: See `read_model`.
        images: Folder of images for the batch norms' statistics; the first 64 by name count.
        out: The file.

    Raises:
        UserError: If the model cannot be read or is another network, or there are no images.
    """
    paths = [*images_in(Path(images)).values()][:MAX_IMAGES]
    if not paths:
        raise UserError(f'no images in {images}, whose statistics the batch norms need')
    try:
        variables = variables_of(read_model(model), str(model))
    except ValueError as error:
        raise UserError(str(error)) from error
    pixels = (torch.from_numpy(resize(load_rgb(path), IMAGE_SIZE)) for path in paths)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    checkpoint = make_weights(variables, pixels)
    with replaced_whole(out) as partial:
        torch.save(checkpoint, partial)
