"""From config and checkpoint to a file that has proved itself."""

from __future__ import annotations

import os
import os.path as osp
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..engine.config import load_config
from ..engine.predict import build_model
from ..errors import UserError
from .fold import has_bad_weights
from .geometry import Geometry, read_geometry
from .graph import ExportGraph, describe
from .images import dataset_images, drawn_images
from .int8 import QUANTISERS
from .measure import Quantised, measure
from .metadata import Metadata
from .openmmlab import class_names
from .predictor import Predictor
from .reference import Reference
from .verify import Comparison, compare_predictions, raw_difference

SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'torch-export': '.pt2', 'executorch': '.pte'}


@dataclass
class Exported:
    """What an export made.

    Attributes:
        path: Of the file.
        metadata: What it says of itself.
        comparison: With the PyTorch model.
        quantised: The 8-bit file, if one was asked for.
        notes: What else the user should know.
    """

    path: str
    metadata: Metadata
    comparison: Comparison
    quantised: Quantised | None
    notes: list[str]

    def problems(self) -> list[str]:
        """Say what is past its tolerance; nothing if the export is good."""
        return self.comparison.problems() + (self.quantised.problems() if self.quantised else [])


def export(
    config: str,
    checkpoint: str,
    *,
    to: str,
    out: str,
    is_raw: bool | None = None,
    int8: bool = False,
    size: tuple[int, int] | None = None,
    dynamic_batch: bool = False,
    num_images: int = 8,
    num_calibration: int = 300,
    cfg_options: Sequence[str] | None = None,
) -> Exported:
    """Export a model, compare it with the PyTorch one, and write it if they agree.

    Args:
        config: Path of the config.
        checkpoint: Path of a checkpoint that covers the whole model.
        to: `onnx`, `openvino`, `torch-export` or `executorch`.
        out: Folder; the file is named after the config.
        is_raw: Scores, boxes and logits come out in place of final boxes and masks. By default
            only where the format cannot suppress boxes.
        int8: Write an 8-bit file too, and measure both.
        size: `(height, width)` of the image that the file takes; by default the config's.
        dynamic_batch: Let the file take any number of images in a call; else one.
        num_images: Images to compare on.
        num_calibration: Images to calibrate 8 bits on.
        cfg_options: `key=value` overrides of the config.

    Returns:
        What was made. If `problems()` names any, the files were not written.

    Raises:
        UserError: If the config, the checkpoint or an option is not what it must be.
    """
    is_raw = _checked_options(to, is_raw, int8, size)
    cfg = load_config(config, cfg_options)
    model = build_model(cfg, checkpoint)
    check_trained(model, checkpoint)
    geometry = read_geometry(cfg, size)
    graph = ExportGraph(model, geometry).eval()
    batch_size = None if dynamic_batch else 1
    metadata = describe(graph, geometry, class_names(cfg), batch_size=batch_size, is_raw=is_raw)
    images, notes = _check_images(cfg, geometry, num_images)
    Path(out).mkdir(parents=True, exist_ok=True)
    name = Path(config).stem + ('_raw' if is_raw and to in ('onnx', 'openvino') else '')
    with tempfile.TemporaryDirectory(dir=out, prefix='.export-') as folder:
        path = osp.join(folder, name + SUFFIXES[to])
        saved, raw_path = _save(graph, metadata, to, path)
        comparison = compare(cfg, model, geometry, raw_path, path, images)
        result = Exported(osp.join(out, osp.basename(path)), metadata, comparison, None, notes)
        if int8 and not result.problems():
            result.quantised = _quantise(cfg, saved, to, metadata, geometry, path, num_calibration)
            result.quantised.path = osp.join(out, osp.basename(result.quantised.path))
        if not result.problems():
            for file in os.listdir(folder):
                if not file.startswith('check_'):
                    os.replace(osp.join(folder, file), osp.join(out, file))
    return result


def _checked_options(
    to: str, is_raw: bool | None, int8: bool, size: tuple[int, int] | None
) -> bool:
    if to not in SUFFIXES:
        raise UserError(f'the formats are {", ".join(SUFFIXES)}, got {to}')
    has_suppression = to in QUANTISERS
    if is_raw is False and not has_suppression:
        raise UserError(
            f'{to} files give scores and decoded boxes; Predictor suppresses them in numpy. '
            f'Leave out --nms, or use --to onnx or openvino'
        )
    if int8 and to not in QUANTISERS:
        raise UserError(f'--int8 is there for {" and ".join(QUANTISERS)}, not for {to}')
    if size is not None and min(size) < 1:
        raise UserError(f'--size takes height and width in pixels, got {size}')
    return not has_suppression if is_raw is None else is_raw


def check_trained(model: nn.Module, checkpoint: str) -> None:
    """Refuse weights that no training can have left behind.

    Raises:
        UserError: If a weight is not finite or no batch norm has ever seen an image.
    """
    bad = has_bad_weights(model)
    if bad:
        raise UserError(f'{checkpoint} is broken: {bad} has values that are not finite')
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if norms and not any(torch.count_nonzero(norm.running_mean) for norm in norms):
        raise UserError(
            f'{checkpoint} is not trained: no batch norm has seen an image; '
            f'train it with tools/train.py first'
        )


def _check_images(
    cfg: Config, geometry: Geometry, count: int
) -> tuple[list[np.ndarray], list[str]]:
    try:
        return dataset_images(cfg, 'test', count, geometry), []
    except UserError as error:
        reason = str(error).split('\n')[0]
        return drawn_images(count, geometry), [f'compared on drawn images: {reason}']


def _save(graph: ExportGraph, metadata: Metadata, to: str, path: str) -> tuple[object, str]:
    """Write a file; return the model of that format, and a file with the same raw outputs."""
    if to == 'torch-export':
        from .programs import save_torch_export

        save_torch_export(graph, metadata, path)
        return None, path
    if to == 'executorch':
        from .programs import save_executorch

        save_executorch(graph, metadata, path)
        return None, path
    from .onnx import export_onnx, with_final_outputs

    raw_metadata = replace(metadata, is_raw=True)
    raw = export_onnx(graph, raw_metadata)
    saved = _write(raw, raw_metadata, to, path)
    if metadata.is_raw:
        return saved, path
    folder, name = osp.split(path)
    raw_path = osp.join(folder, f'check_{name}')
    _write(raw, raw_metadata, to, raw_path)
    return _write(with_final_outputs(raw, metadata), metadata, to, path), raw_path


def _write(model: object, metadata: Metadata, to: str, path: str) -> object:
    """Write an ONNX model in a format; return the model of that format."""
    if to == 'onnx':
        import onnx

        onnx.save(model, path)
        return model
    from .openvino import save_openvino, to_openvino

    converted = to_openvino(model, metadata)
    save_openvino(converted, path)
    return converted


def _quantise(
    cfg: Config,
    model: object,
    to: str,
    metadata: Metadata,
    geometry: Geometry,
    path: str,
    num_images: int,
) -> Quantised:
    images = dataset_images(cfg, 'train', num_images, geometry)
    int8_path = osp.splitext(path)[0] + '_int8' + SUFFIXES[to]
    int8_model = QUANTISERS[to](model, replace(metadata, precision='int8'), images)
    if to == 'onnx':
        import onnx

        onnx.save(int8_model, int8_path)
    else:
        from .openvino import save_openvino

        save_openvino(int8_model, int8_path)
    return measure(cfg, path, int8_path, images[0])


def compare(
    cfg: Config,
    model: nn.Module,
    geometry: Geometry,
    raw_path: str,
    path: str,
    images: Sequence[np.ndarray],
) -> Comparison:
    """Run an exported file and the PyTorch model on the same images.

    Args:
        cfg: The config.
        model: The PyTorch model as it was loaded.
        geometry: Of the export.
        raw_path: A file with the raw outputs of the export.
        path: The export.
        images: `(H, W, 3)` uint8 RGB of the input size.
    """
    reference = Reference(cfg, model, geometry)
    raw, final = Predictor(raw_path), Predictor(path)
    # A file for any batch size is tried on three images at once.
    step = final.metadata.batch_size or 3
    result = Comparison(num_images=len(images))
    for start in range(0, len(images), step):
        batch = images[start : start + step]
        differences = raw_difference(
            raw.run(np.stack(batch)), reference.raw(batch), max(geometry.input_size)
        )
        for name, value in differences.items():
            result.raw[name] = max(result.raw.get(name, 0.0), value)
        compare_predictions(result, final.predict(batch), reference.predict(batch))
    return result
