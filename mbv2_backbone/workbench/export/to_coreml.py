"""Export to Core ML: an ML Program that names classes, and for final boxes Core ML's own NMS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...common.messages import UserError
from ...compat.coremltools_import import ct, quiet
from ...deploy.metadata import Classification, Detection, Metadata
from .graph import ExportGraph
from .int8 import between_convolutions
from .onnx_nms import least_score
from .saved import Saved, check_path
from .to_torch import example_inputs

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Operation
    from coremltools.proto.Model_pb2 import Model

TARGET = ct.target.iOS15
MAX_PAIRS = 20_000  # of box and class that enter Core ML's NMS, which takes the square of it
# It writes a multiplication and an addition as a batch norm, whose epsilon shifts the input.
_LEFT_OUT = {'common::fuse_elementwise_to_batchnorm'}
_FOR_NMS = ('all_confidence', 'all_coordinates')
_WITH_WEIGHTS = ('conv', 'linear')


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write an `.mlpackage`, and its raw float32 twin for the comparison unless it is the same."""
    write(graph, metadata, path)
    twin = replace(metadata, is_raw=True, precision='float32')
    if twin == metadata:
        return Saved(path)
    write(graph, twin, check_path(path))
    return Saved(check_path(path))


def check_metadata(metadata: Metadata) -> None:
    """Refuse rules of boxes that Core ML's NMS cannot follow.

    Raises:
        UserError: If there are such rules; says what to do.
    """
    rules = metadata.detection
    if metadata.is_raw or rules is None:
        return
    ways = 'use --raw and suppress the boxes in the app, or '
    if rules.clip_after_nms:
        raise UserError(
            f'a Core ML file cannot clip boxes after NMS (test_cfg.clip_after_nms); {ways}clip '
            f'them before it: --cfg-options model.test_cfg.clip_after_nms=False'
        )
    num_pairs = sum(_level_limits(rules))
    if num_pairs > MAX_PAIRS:
        raise UserError(
            f'{num_pairs} pairs of box and class would enter the NMS of a Core ML file, at most '
            f'{MAX_PAIRS} may; {ways}keep fewer of each level: '
            f'--cfg-options model.test_cfg.nms_pre=1000'
        )


def write(graph: ExportGraph, metadata: Metadata, path: str) -> None:
    """Write an `.mlpackage` with the outputs and the precision that `metadata` asks for."""
    model = convert(CoreMLGraph(graph, metadata).eval(), metadata)
    spec = model.get_spec()
    if metadata.detection and not metadata.is_raw:
        spec = with_nms(spec, metadata.detection)
    spec.description.metadata.userDefined.update(metadata.to_strings())
    ct.utils.save_spec(spec, path, weights_dir=model.weights_dir)


class CoreMLGraph(nn.Module):
    """A graph with the inputs and outputs of a Core ML program; one image per call.

    Args:
        graph: The graph.
        metadata: What the file will hold.
    """

    def __init__(self, graph: ExportGraph, metadata: Metadata) -> None:
        super().__init__()
        self.network = graph  # a traced module has a `graph` of its own
        self.metadata = metadata

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        names = self.metadata.output_names
        if self.metadata.detection and not self.metadata.is_raw:
            names = _FOR_NMS + names[3:]
        return names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map an image to the outputs.

        Args:
            image: RGB, 0 to 255: `(1, 3, H, W)`, an image of Core ML, or `(1, H, W, 3)` where
                the file takes float32, which no image of Core ML has.
        """
        if self.metadata.input_type == 'float32':
            outputs = self.network(image)
        else:
            outputs = self.network.raw_outputs(self.network.preprocess.from_planes(image))
        if self.metadata.is_raw:
            return outputs
        results: tuple[Tensor, ...] = ()
        if self.metadata.detection:
            scores, boxes, *outputs = outputs
            results += nms_inputs(
                scores[0], boxes[0], self.metadata.detection, self.metadata.input_size
            )
        if self.metadata.segmentation:
            logits, *outputs = outputs
            results += (logits.argmax(1).int(), logits)
        if self.metadata.classification:
            results += (outputs[0].softmax(1),)
        return results


def nms_inputs(
    scores: Tensor, boxes: Tensor, rules: Detection, input_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return what Core ML's NMS takes: a row for each of the K pairs of box and class.

    Core ML's NMS takes the best class of a row as its only one. With one class in a row, a box
    can have several, as in the head.

    Args:
        scores: `(P, C)`, in [0, 1].
        boxes: `(P, 4)` xyxy, in pixels.
        rules: `nms_pre` and `min_bbox_size` are applied here.
        input_size: `(height, width)` of the image, in pixels.

    Returns:
        Confidences `(K, C)`, of which all but one in a row are 0, and coordinates `(K, 4)`: centre,
        width and height as shares of the image.
    """
    num_classes = scores.shape[1]
    one_hot = torch.eye(num_classes)
    confidence, coordinates = [], []
    levels = (values.split(rules.level_sizes) for values in (scores, boxes))
    for level_scores, level_boxes, limit in zip(*levels, _level_limits(rules), strict=True):
        if limit == level_scores.numel():
            confidence.append((level_scores[:, :, None] * one_hot).reshape(limit, num_classes))
            every = level_boxes[:, None].repeat(1, num_classes, 1)
            coordinates.append(every.reshape(limit, 4))
        else:
            best, pair = level_scores.flatten().topk(limit)
            # In the middle between whole numbers, no rounding of a division leads to another one.
            prior = ((pair + 0.5) / num_classes).floor().long()
            confidence.append(best[:, None] * one_hot[pair - prior * num_classes])
            coordinates.append(level_boxes[prior])
    confidence, corners = torch.cat(confidence), torch.cat(coordinates)
    sides = corners[:, 2:] - corners[:, :2]
    if rules.min_bbox_size >= 0:
        confidence = confidence * (sides.amin(1, keepdim=True) > rules.min_bbox_size).float()
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    height, width = input_size
    return confidence, torch.cat([centre, sides], 1) / torch.tensor([width, height] * 2)


def _level_limits(rules: Detection) -> list[int]:
    """Return how many pairs of box and class of each level enter NMS."""
    pairs = [size * len(rules.classes) for size in rules.level_sizes]
    return [min(num, rules.nms_pre) if rules.nms_pre > 0 else num for num in pairs]


def convert(graph: CoreMLGraph, metadata: Metadata) -> ct.models.MLModel:
    """Convert a graph to an ML Program.

    With `metadata.precision` float16, the network runs and is stored in half precision, from its
    first to its last convolution; normalisation, decoding and outputs are float32.
    """
    height, width = metadata.input_size
    if metadata.input_type == 'float32':
        (example,), _ = example_inputs(metadata)
        image = ct.TensorType('image', shape=example.shape)
    else:
        example = torch.zeros(1, 3, height, width)
        image = ct.ImageType('image', shape=example.shape, color_layout=ct.colorlayout.RGB)
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(_LEFT_OUT)
    is_half = metadata.precision == 'float16'
    names_classes = metadata.task == 'cls' and not metadata.is_raw
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(graph, example, check_trace=False)
        return ct.convert(
            traced,
            inputs=[image],
            outputs=[ct.TensorType(name) for name in graph.output_names],
            convert_to='mlprogram',
            minimum_deployment_target=TARGET,
            compute_precision=ct.transform.FP16ComputePrecision(_network_selector())
            if is_half
            else ct.precision.FLOAT32,
            pass_pipeline=passes,
            classifier_config=ct.ClassifierConfig(class_labels(metadata.classification))
            if names_classes
            else None,
            skip_model_load=True,
        )


def class_labels(classification: Classification) -> list[str]:
    """Return the names of the classes, which are the keys of a dictionary: equal ones numbered."""
    seen: Counter[str] = Counter()
    labels = []
    for name in classification.classes:
        seen[name] += 1
        labels.append(name if seen[name] == 1 else f'{name} {seen[name]}')
    return labels


def _network_selector() -> Callable[[Operation], bool]:
    """Return what tells whether an operation is a convolution, or after one and before another."""
    chosen: set[str] = set()

    def is_in_network(operation: Operation) -> bool:
        if not chosen:  # at the first operation, before any changes
            chosen.update(_network(list(operation.enclosing_block.operations)))
        return operation.name in chosen

    return is_in_network


def _network(operations: Sequence[Operation]) -> set[str]:
    index = {op.name: i for i, op in enumerate(operations)}
    inputs = [
        [index[v.op.name] for v in op.get_flattened_inputs() if v.op is not None]
        for op in operations
    ]
    is_conv = [op.op_type in _WITH_WEIGHTS for op in operations]
    found = between_convolutions(inputs, is_conv, left_out=0)
    return {operations[i].name for i in found}


def with_nms(spec: Model, rules: Detection) -> Model:
    """Return a pipeline of a program and Core ML's NMS, with `confidence` and `coordinates`.

    Args:
        spec: The program, with the outputs of `nms_inputs` and perhaps others.
        rules: Thresholds, the limit and the classes.
    """
    nms = ct.proto.Model_pb2.Model(specificationVersion=spec.specificationVersion)
    pipeline = ct.proto.Model_pb2.Model(specificationVersion=spec.specificationVersion)
    pipeline.description.input.extend(spec.description.input)
    limit = rules.max_per_img if rules.max_per_img > 0 else -1
    columns = dict(confidence=len(rules.classes), coordinates=4)
    for (name, size), source in zip(columns.items(), _FOR_NMS, strict=True):
        given = next(o for o in spec.description.output if o.name == source)
        nms.description.input.append(given)
        output = nms.description.output.add(name=name)
        output.type.multiArrayType.dataType = given.type.multiArrayType.dataType
        ranges = output.type.multiArrayType.shapeRange.sizeRanges
        ranges.add(lowerBound=0, upperBound=limit)
        ranges.add(lowerBound=size, upperBound=size)
        pipeline.description.output.append(output)
    pipeline.description.output.extend(
        output for output in spec.description.output if output.name not in _FOR_NMS
    )
    stage = nms.nonMaximumSuppression
    stage.pickTop.perClass = True
    stage.stringClassLabels.vector.extend(rules.classes)
    stage.iouThreshold = rules.iou_thr
    stage.confidenceThreshold = least_score(rules)
    stage.confidenceInputFeatureName, stage.coordinatesInputFeatureName = _FOR_NMS
    stage.confidenceOutputFeatureName, stage.coordinatesOutputFeatureName = columns
    pipeline.pipeline.models.extend([spec, nms])
    pipeline.pipeline.names.extend(['network', 'nms'])
    return pipeline
