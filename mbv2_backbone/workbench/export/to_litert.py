"""Export to LiteRT (TensorFlow Lite), for phones, boards and microcontrollers."""

from __future__ import annotations

import io
import os
import os.path as osp
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from ...common.messages import UserError, first_line
from ...deploy.litert_runtime import CODING_FILE
from ...deploy.metadata import Detection, Metadata
from ...det.targets import MAX_LOG_RATIO
from .formats import FORMATS
from .graph import BoxOutput, ExportGraph, box_features, mask_logits
from .saved import Saved, save_both
from .tflite_int8 import quantise, quantise_all
from .tflite_metadata import NAME, describe_model, with_files
from .tflite_model import add_metadata, add_nms, cut, outputs_of, pack, read
from .to_torch import example_inputs

_LEAST_SIDE = 1e-9  # of a box without area, in fractions of the image; its logarithm is finite


class LiteRTGraph(nn.Module):
    """An export graph with channels last, and with what the operator for NMS takes.

    Args:
        graph: The graph.
        metadata: Metadata of the file; if `is_raw`, only its raw outputs are computed.

    Attributes:
        names: Names of the outputs: `scores`, `boxes`, `codes` (those of the boxes before they
            are decoded), `centres` and `candidates` (what the operator takes), `mask`, `logits`,
            `class_logits`, `probabilities`.
    """

    def __init__(self, graph: ExportGraph, metadata: Metadata) -> None:
        super().__init__()
        self.network = graph  # torch.fx has a graph of its own
        self.metadata = metadata
        final = not metadata.is_raw
        self.names: tuple[str, ...] = ()
        if metadata.detection:
            self.names += ('scores', 'boxes', 'codes')
            self.names += ('centres', 'candidates') if final else ()
        if metadata.segmentation:
            # MediaPipe takes the last output of two for the logits.
            self.names += ('mask', 'logits') if final else ('logits',)
        if metadata.classification:
            self.names += ('class_logits', 'probabilities') if final else ('class_logits',)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map `(1, H, W, 3)` RGB, 0 to 255, to the outputs that `names` names."""
        graph, outputs = self.network, ()
        features = graph.model.extract_feat(graph.preprocess(image))
        if self.metadata.detection:
            box_output = graph.box_output
            codes = box_output.codes(box_features(graph.model, features))
            scores, boxes = box_output.decoded(*codes)
            outputs += scores, boxes, codes[1]
            if not self.metadata.is_raw:
                outputs += (
                    centres(boxes, self.metadata.input_size),
                    candidates(scores, boxes, self.metadata.detection),
                )
        if self.metadata.segmentation:
            logits = mask_logits(graph.mask_head, features, graph.geometry)
            logits = logits.permute(0, 2, 3, 1)
            few = len(self.metadata.segmentation.classes) <= 256
            mask = logits.argmax(-1).to(torch.uint8 if few else torch.int32)
            outputs += (logits,) if self.metadata.is_raw else (mask, logits)
        if self.metadata.classification:
            logits = graph.image_head(features)
            outputs += (logits,) if self.metadata.is_raw else (logits, logits.softmax(-1))
        return outputs


def centres(boxes: Tensor, input_size: tuple[int, int]) -> Tensor:
    """Return boxes as the operator for NMS decodes them with priors that fill the image.

    Args:
        boxes: `(1, P, 4)` xyxy in pixels.
        input_size: `(height, width)` of the image in pixels.

    Returns:
        `(1, P, 4)`: vertical and horizontal centre, logarithms of height and width, in fractions
        of the image.
    """
    height, width = input_size
    shares = boxes / boxes.new_tensor([width, height, width, height])
    left, top, right, bottom = shares.split(1, -1)
    logarithms = [side.clamp(min=_LEAST_SIDE).log() for side in (bottom - top, right - left)]
    return torch.cat([(top + bottom) / 2, (left + right) / 2, *logarithms], -1)


def candidates(scores: Tensor, boxes: Tensor, rules: Detection) -> Tensor:
    """Set scores `(1, P, C)` to 0 that do not enter NMS.

    These are those that are not among the best `nms_pre` of their level, and those of boxes
    `(1, P, 4)` that are too small.
    """
    if 0 < rules.nms_pre < max(rules.level_sizes) * len(rules.classes):
        levels = [
            _best(level, rules.nms_pre) if level[0].numel() > rules.nms_pre else level
            for level in scores.split(rules.level_sizes, 1)
        ]
        scores = torch.cat(levels, 1)
    if rules.min_bbox_size < 0:
        return scores
    shorter = (boxes[..., 2:] - boxes[..., :2]).amin(-1, keepdim=True)
    return torch.where(shorter > rules.min_bbox_size, scores, torch.zeros_like(scores))


def _best(level: Tensor, count: int) -> Tensor:
    scores = level.flatten(1)
    # litert-torch sorts all scores, slowly, where a topk is not asked for its indices.
    last = scores.topk(count).indices[:, -1:]
    return torch.where(level >= scores.gather(1, last)[..., None], level, torch.zeros_like(level))


def check_metadata(metadata: Metadata) -> None:
    """Refuse the rules that TensorFlow Lite's operator for NMS cannot follow.

    Raises:
        UserError: It names the rule.
    """
    rules = metadata.detection
    if rules is None or metadata.is_raw:
        return
    unable = 'TFLite_Detection_PostProcess, which ends a litert file with NMS, cannot'
    instead = '; export with --raw, and Predictor does it in numpy'
    if rules.clip_after_nms:
        raise UserError(f'{unable} clip boxes after NMS (test_cfg.clip_after_nms=True){instead}')
    if not 0 < rules.iou_thr <= 1:
        raise UserError(f'{unable} suppress at an IoU of {rules.iou_thr}{instead}')


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write a graph to a `.tflite` file."""
    converted = convert(LiteRTGraph(graph, metadata), metadata)
    coding = coding_of(graph.box_output) if metadata.detection else b''
    raw_metadata = replace(metadata, is_raw=True)
    raw = final = _file(converted.raw(), raw_metadata, path)
    if not metadata.is_raw:
        final = _file(_with_nms(converted.before_nms(), metadata), metadata, path)
    saved = save_both(raw, final, path, lambda data, path: Path(path).write_bytes(data))
    return replace(saved, model=(converted, coding))


def save_int8(
    saved: Saved, metadata: Metadata, images: Sequence[np.ndarray], path: str, kind: str
) -> None:
    """Write an 8-bit file.

    With the kind `strict` all tensors have 8 bits, as microcontrollers need it. Its outputs are
    raw, and boxes are codes that the reader decodes, since 8 bits are too few for an exponential.

    Raises:
        UserError: If the model has an operator that the quantiser leaves in float32.
    """
    converted, coding = saved.model
    if kind == 'strict':
        metadata, files = replace(metadata, is_raw=True), {}
        if metadata.detection:
            files[CODING_FILE] = coding
        data = _file(quantise_all(converted.for_integers(), images), metadata, path, files)
    else:
        part = converted.raw() if metadata.is_raw else converted.before_nms()
        data = _file(_with_nms(quantise(part, images), metadata), metadata, path)
    Path(path).write_bytes(data)


def _with_nms(model: schema.ModelT, metadata: Metadata) -> schema.ModelT:
    if metadata.detection and not metadata.is_raw:
        add_nms(model, metadata.detection)
    return model


def _file(
    model: schema.ModelT, metadata: Metadata, path: str, files: Mapping[str, bytes] | None = None
) -> bytes:
    name = osp.splitext(osp.basename(path))[0]
    add_metadata(model, NAME, describe_model(metadata, tuple(outputs_of(model)), name))
    return with_files(pack(model), metadata, files or {})


def coding_of(box_output: BoxOutput) -> bytes:
    """Return what `deploy.litert_runtime` decodes the codes of boxes with."""
    data = io.BytesIO()
    arrays = {key: np.float32(value) for key, value in box_output.head.coding.items()}
    most = np.float32(MAX_LOG_RATIO)
    np.savez(data, priors=box_output.priors.numpy(), max_log_ratio=most, **arrays)
    return data.getvalue()


@dataclass(frozen=True)
class Converted:
    """A model with the outputs of a `LiteRTGraph`, of which each file has some.

    Attributes:
        data: The model.
        names: Names of its outputs.
    """

    data: bytes
    names: tuple[str, ...]

    def raw(self) -> schema.ModelT:
        """Return the model with its raw outputs."""
        return self._with('scores', 'boxes', 'logits', 'class_logits')

    def before_nms(self) -> schema.ModelT:
        """Return the model with what the operator for NMS takes, final masks and probabilities."""
        return self._with('centres', 'candidates', 'logits', 'mask', 'probabilities')

    def for_integers(self) -> schema.ModelT:
        """Return the raw model with the codes of boxes, and without the cast of the image."""
        return self._with('scores', 'codes', 'logits', 'class_logits', casts_input=False)

    def _with(self, *names: str, casts_input: bool = True) -> schema.ModelT:
        model = read(self.data)
        tensors = outputs_of(model)
        outputs = {
            name: tensors[f'output_{i}'] for i, name in enumerate(self.names) if name in names
        }
        cut(model, outputs, casts_input=casts_input)
        return model


def convert(graph: LiteRTGraph, metadata: Metadata) -> Converted:
    """Convert a graph to a TensorFlow Lite model.

    Raises:
        UserError: If the converter is not one that works with this torch.
    """
    converter = _import_converter()
    (example,), _ = example_inputs(metadata)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path = osp.join(folder, 'model.tflite')
        converter.convert(graph.eval(), (example,)).export(path)
        return Converted(Path(path).read_bytes(), graph.names)


def _import_converter() -> ModuleType:
    os.environ.setdefault('LITERT_TORCH_SHOW_PROGRESS', 'n')
    try:
        import litert_torch

        litert_torch.convert  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise UserError(
            f'litert_torch is not one that this package works with ({first_line(error)}): '
            f'{FORMATS["litert"].install}'
        ) from error
    return litert_torch
