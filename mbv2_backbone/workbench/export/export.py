"""Export a config and a checkpoint, and verify the file before keeping it."""

from __future__ import annotations

import errno
import os
import os.path as osp
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...common.messages import UserError, first_line
from ...deploy.image import Placement
from ...deploy.metadata import Metadata
from ...deploy.predictor import Predictor
from ...weights.whole_model import build_model, find_checkpoint
from ..checks.class_order import check_class_order
from ..configs.read import load_config
from ..configs.summary import summarise
from ..predict.exported_model import predictor_of
from .compare import TOLERANCES, Comparison, compare_predictions, raw_difference
from .formats import FORMATS, check_format, check_metadata, suffix_of, writer_of
from .geometry import Geometry, read_geometry
from .graph import ExportGraph, describe
from .measure import Quantised, measure
from .reference import Reference
from .sample_images import drawn_images, test_images, training_images
from .saved import CHECK_PREFIX

_SPACE_FACTOR = 8  # of the weights: files to compare, to keep, in 8 bits, and of the converters
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Exported:
    """The result of an export.

    Attributes:
        path: Path of the file.
        metadata: Metadata in the file.
        comparison: Comparison with the PyTorch model.
        quantised: The 8-bit file, if one was asked for.
        notes: Anything else the user should know.
    """

    path: str
    metadata: Metadata
    comparison: Comparison
    quantised: Quantised | None
    notes: list[str]

    def __repr__(self) -> str:
        problems = [f'error: {problem}' for problem in self.problems()]
        files = [self.path, *([self.quantised.path] if self.quantised else [])]
        end = 'error: the export differs from PyTorch and was not written'
        return '\n'.join(
            [
                *(f'note: {note}' for note in self.notes),
                str(self.comparison),
                *([str(self.quantised)] if self.quantised else []),
                *problems,
                end if problems else f'Wrote {" and ".join(files)}',
            ]
        )

    def problems(self) -> list[str]:
        """Return what exceeds its tolerance; empty if the export is good."""
        return self.comparison.problems() + (self.quantised.problems() if self.quantised else [])


def export(
    config: str | Path,
    checkpoint: str | Path,
    *,
    to: str,
    out: str | Path = 'exported',
    is_raw: bool | None = None,
    int8: bool | str = False,
    size: tuple[int, int] | None = None,
    dynamic_batch: bool = False,
    precision: str | None = None,
    num_images: int = 8,
    num_calibration: int = 300,
    cfg_options: Sequence[str] | None = None,
) -> Exported:
    """Export a model, compare it with the PyTorch one, and write it if they agree.

    Args:
        config: Path of the config.
        checkpoint: Path of a checkpoint that covers the whole model; `best` or `last` of the
            config's work directory.
        to: A key of `formats.FORMATS`.
        out: Output folder; the file is named after the config.
        is_raw: Output scores, boxes and logits instead of final boxes, masks and probabilities. By
            default only if the format has no NMS.
        int8: Write an 8-bit file too, and measure both; a text names the kind of 8-bit file.
        size: `(height, width)` of the input image; by default the config's.
        dynamic_batch: Make the file accept any number of images per call; else one.
        precision: Of the network in the file, `float16` or `float32`; by default the format's own.
        num_images: Number of images to compare on.
        num_calibration: Number of images for the 8-bit calibration.
        cfg_options: `key=value` overrides of the config.

    Returns:
        The result. If `problems()` is not empty, the files were not written.

    Raises:
        UserError: If the config, the checkpoint or an option is invalid, or a package that the
            format needs is not installed.
    """
    kind = 'default' if int8 is True else int8 or None
    check_format(to, int8=kind, dynamic_batch=dynamic_batch, precision=precision)
    is_raw = _checked_options(to, is_raw, size)
    for flag, value in (('--images', num_images), ('--calibration-images', num_calibration)):
        if value < 1:
            raise UserError(f'{flag} must be 1 or more, got {value}')
    cfg = load_config(config, cfg_options)
    summary = summarise(cfg)
    checkpoint = find_checkpoint(checkpoint, cfg.work_dir)
    model, meta = build_model(cfg, checkpoint)
    check_class_order(checkpoint, meta, summary)
    check_trained(model, checkpoint)
    geometry = read_geometry(cfg, size)
    graph = ExportGraph(model, geometry).eval()
    batch_size = None if dynamic_batch else 1
    metadata = describe(graph, summary, batch_size=batch_size, is_raw=is_raw)
    metadata = replace(metadata, precision=precision or FORMATS[to].precisions[0])
    check_metadata(to, metadata)
    notes = []
    try:
        images = test_images(cfg, summary, num_images, geometry)
    except UserError as error:
        images = drawn_images(num_images, geometry)
        notes.append(f'compared on generated images: {first_line(error)}')
    weight_bytes = sum(x.numel() * x.element_size() for x in model.state_dict().values())
    name = Path(config).stem + ('_raw' if is_raw and FORMATS[to].has_nms else '')
    with _folder_in(out, _SPACE_FACTOR * weight_bytes) as folder:
        path = osp.join(folder, name + suffix_of(to))
        saved = writer_of(to).save(graph, metadata, path)
        final = predictor_of(saved.final_path or path)
        raw = final if saved.raw_path == path else predictor_of(saved.raw_path)
        comparison = compare(cfg, model, geometry, raw, final, images)
        result = Exported(osp.join(out, osp.basename(path)), metadata, comparison, None, notes)
        if kind and not result.problems():
            calibration = training_images(cfg, summary, num_calibration, geometry)
            suffix = '_int8' if kind == 'default' else f'_int8_{kind}'
            int8_path = path.removesuffix(suffix_of(to)) + suffix + suffix_of(to)
            int8_metadata = replace(metadata, precision='int8')
            writer_of(to).save_int8(saved, int8_metadata, calibration, int8_path, kind)
            result.quantised = measure(cfg, summary, path, int8_path, calibration[0])
            result.quantised.path = osp.join(out, osp.basename(int8_path))
        if not result.problems():
            for file in os.listdir(folder):
                if not file.startswith(CHECK_PREFIX):
                    _replace(osp.join(folder, file), osp.join(out, file))
    return result


@contextmanager
def _folder_in(out: str | Path, num_bytes: int) -> Iterator[str]:
    """Yield a temporary folder in the output folder, and make the latter if it is missing.

    Space is looked for first, as some converters end the whole process where they find none.

    Raises:
        UserError: If it cannot be made there, or there is no space.
    """
    with ExitStack() as stack:
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=out, prefix='.export-')
            path = stack.enter_context(folder)
            for place in (out, tempfile.gettempdir()):
                free = shutil.disk_usage(place).free
                if free < num_bytes:
                    raise UserError(
                        f'{place} has {free / 1e6:.1f} MB left, and the export needs about '
                        f'{num_bytes / 1e6:.0f} MB; free some space, or choose another folder '
                        f'with --out (and TMPDIR for temporary files)'
                    )
        except OSError as error:
            raise UserError(
                f'cannot write to the folder {out}: {error.strerror}; choose another with --out'
            ) from error
        try:
            yield path
        except UserError:
            raise
        except Exception as error:
            found = _lack_of_space(error, (path, tempfile.gettempdir()), num_bytes)
            if found is None:
                raise
            raise UserError(
                f'cannot write {found.filename or out}: {found.strerror}; free some space, or '
                f'choose another folder with --out'
            ) from error


def _lack_of_space(error: Exception, folders: Sequence[str], num_bytes: int) -> OSError | None:
    """Return an error that says that space has ended, if that is what an export failed of.

    Libraries in C++ raise others with a text of their own, so that writing is tried once more.
    """
    try:
        if isinstance(error, OSError):
            raise error
        for folder in folders:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(num_bytes))
    except OSError as other:
        return other if other.errno in _NO_SPACE else None
    return None


def _replace(source: str, target: str) -> None:
    """Move a file, or a folder that is one to its runtime, to where an older one may be."""
    if osp.isdir(target):  # the old one leaves with the temporary folder
        os.rename(target, source + '.old')
    os.replace(source, target)


def _checked_options(to: str, is_raw: bool | None, size: tuple[int, int] | None) -> bool:
    has_nms = FORMATS[to].has_nms
    if is_raw is False and not has_nms:
        able = ' or '.join(name for name, other in FORMATS.items() if other.has_nms)
        raise UserError(
            f'{to} files give scores and decoded boxes, or logits; Predictor does the rest in '
            f'numpy. Leave out --nms, or use --to {able}'
        )
    if is_raw and not FORMATS[to].has_raw:
        raise UserError(
            f'{to} shows final boxes, masks and classes; leave out --raw, or use --to onnx'
        )
    if size is not None and min(size) < 1:
        raise UserError(f'--size takes height and width in pixels, got {size}')
    return not has_nms if is_raw is None else is_raw


def check_trained(model: nn.Module, checkpoint: str) -> None:
    """Refuse weights that cannot come from training.

    Raises:
        UserError: If a weight is not finite or no batch norm has ever seen an image.
    """
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(f'{checkpoint} is broken: {name} has NaN or infinite values')
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    # Where norms were folded into convolutions, they have a bias, but no mean.
    if norms and not any(norm.running_mean.any() or norm.bias.any() for norm in norms):
        raise UserError(
            f'{checkpoint} is not trained: no batch norm has seen an image; '
            f'train it with tools/train.py first'
        )


def compare(
    cfg: Config,
    model: nn.Module,
    geometry: Geometry,
    raw: Predictor,
    final: Predictor,
    images: Sequence[np.ndarray],
) -> Comparison:
    """Run an exported file and the PyTorch model on the same images.

    Args:
        cfg: The config.
        model: The PyTorch model, not folded.
        geometry: Sizes of the export.
        raw: A file with the raw outputs of the export, in float32.
        final: The export.
        images: `(H, W, 3)` RGB of the input size, of `Metadata.input_type`.
    """
    reference = Reference(cfg, model, geometry)
    # A file for any batch size is tested with three images at once.
    step = final.metadata.batch_size or 3
    tolerance = TOLERANCES[final.metadata.precision]
    result = Comparison(num_images=len(images), tolerance=tolerance)
    for start in range(0, len(images), step):
        batch = images[start : start + step]
        differences = raw_difference(
            raw.run(np.stack(batch)), reference.raw(batch), max(geometry.input_size)
        )
        for name, value in differences.items():
            result.raw[name] = max(result.raw.get(name, 0.0), value)
        # The reference takes images of the input size, so the file does too.
        placed = [(image, Placement(geometry.input_size, geometry.input_size)) for image in batch]
        compare_predictions(result, final.predict_placed(placed), reference.predict(batch))
    return result
