"""Run a Core ML file without Core ML, to check it where there is none.

The file is read back from the disk. Its program runs operation by operation, as coremltools'
documentation of MIL defines them; each result is rounded to the type that the file states.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...common.messages import UserError
from ...compat.coremltools_import import ct, load_program, nptype_from_builtin
from ...deploy.metadata import Metadata
from ...deploy.nms import nms
from ...deploy.runtime_files import broken

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Function, Operation
    from coremltools.proto.Model_pb2 import Model
    from coremltools.proto.NonMaximumSuppression_pb2 import NonMaximumSuppression

Inputs = Mapping[str, object]
LABELLED = 'classLabel_probs'  # coremltools' name of the probabilities by label


def load(path: str) -> CoreMLFile:
    """Read an `.mlpackage` that `to_coreml` wrote.

    Raises:
        UserError: If it is broken or not one of ours.
    """
    try:
        spec = ct.utils.load_spec(path)
        metadata = Metadata.from_strings(spec.description.metadata.userDefined, path)
        return CoreMLFile(spec, metadata, osp.join(path, 'Data', 'com.apple.CoreML', 'weights'))
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from error


class CoreMLFile:
    """A Core ML file as a `deploy.runtimes.Runtime`.

    Args:
        spec: The file's content: a program, or a pipeline of a program and NMS.
        metadata: Metadata of the file.
        weights: Folder of the weights.
    """

    def __init__(self, spec: Model, metadata: Metadata, weights: str) -> None:
        self.metadata = metadata
        network, *stages = spec.pipeline.models or [spec]
        self._nms = stages[0].nonMaximumSuppression if stages else None
        self._limit = stages[0].description.output[0].type.multiArrayType if stages else None
        program = load_program(network, network.specificationVersion, weights)
        self._main: Function = program.functions['main']

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `deploy.runtimes.Runtime`; one image per call."""
        image = torch.from_numpy(images).float()
        if self.metadata.input_type == 'uint8':  # an image of Core ML
            image = image.permute(0, 3, 1, 2)
        outputs = {name: value.numpy() for name, value in run(self._main, image=image).items()}
        if LABELLED in outputs:
            outputs['probabilities'] = outputs[LABELLED]
        if self._nms:
            outputs |= self._final_boxes(outputs)
        return {name: outputs[name] for name in names}

    def _final_boxes(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        confidence, coordinates = suppress(
            outputs[self._nms.confidenceInputFeatureName],
            outputs[self._nms.coordinatesInputFeatureName],
            self._nms,
            self._limit.shapeRange.sizeRanges[0].upperBound,
        )
        height, width = self.metadata.input_size
        boxes = corners_of(coordinates) * np.float32([width, height] * 2)
        scores, labels = confidence.max(1), confidence.argmax(1)
        return {'boxes': boxes[None], 'scores': scores[None], 'labels': labels[None]}


def suppress(
    confidence: np.ndarray,
    coordinates: np.ndarray,
    rules: NonMaximumSuppression,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Do what Core ML's NMS is documented to do (`NonMaximumSuppression.proto`).

    Args:
        confidence: `(K, C)`; the best class of a row is its label.
        coordinates: `(K, 4)`: centre, width and height.
        rules: The stage's settings.
        limit: Most rows of the result, the upper bound of the stage's output; -1 means all.

    Returns:
        The kept rows of both, by descending confidence.
    """
    best, label = confidence.max(1), confidence.argmax(1)
    order = np.argsort(-best, kind='stable')
    order = order[best[order] >= rules.confidenceThreshold]
    boxes, label = corners_of(coordinates[order]), label[order]
    kept = np.zeros(len(order), bool)
    for group in np.unique(label) if rules.pickTop.perClass else [None]:
        index = np.flatnonzero(True if group is None else label == group)
        kept[index[nms(boxes[index], rules.iouThreshold)]] = True
    rows = order[kept][: limit if limit > 0 else None]
    return confidence[rows], coordinates[rows]


def corners_of(coordinates: np.ndarray) -> np.ndarray:
    """Return boxes `(K, 4)` xyxy from centre, width and height."""
    centre, half = coordinates[:, :2], coordinates[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], 1)


@torch.no_grad()
def run(function: Function, **inputs: Tensor) -> dict[str, Tensor]:
    """Run a function of a MIL program.

    Args:
        function: The function.
        **inputs: Its inputs.

    Returns:
        Its outputs, by name.

    Raises:
        UserError: If it has an operation that is not known here.
    """
    values: dict[str, Tensor] = dict(inputs)

    def value_of(variable: object) -> object:
        if variable is None or isinstance(variable, (list, tuple)):
            return variable and [value_of(v) for v in variable]
        if variable.name in values:
            return values[variable.name]
        value = variable.val
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value.copy())
        return value.item() if isinstance(value, np.generic) else value

    for operation in function.operations:
        if operation.op_type == 'const':
            continue
        given = dict.fromkeys(operation.input_spec.input_types)  # those left out are None
        given |= {name: value_of(variable) for name, variable in operation.inputs.items()}
        results = _apply(operation, given)
        for variable, result in zip(operation.outputs, results, strict=True):
            is_label = operation.op_type == 'classify'  # a text, and a dictionary by it
            values[variable.name] = result if is_label else result.to(_torch_type(variable.dtype))
    return {variable.name: values[variable.name] for variable in function.outputs}


def _torch_type(dtype: type) -> torch.dtype:
    return getattr(torch, np.dtype(nptype_from_builtin(dtype)).name)


def _apply(operation: Operation, given: Inputs) -> Sequence[Tensor]:
    """Compute in float32, the least that Core ML adds up in."""
    if operation.op_type not in OPERATIONS:
        raise UserError(f'the operation {operation.op_type} cannot be checked without Core ML')
    given = {k: v.float() if _is_half(v) else v for k, v in given.items()}
    if isinstance(given.get('values'), list):
        given['values'] = [v.float() if _is_half(v) else v for v in given['values']]
    results = OPERATIONS[operation.op_type](given)
    return results if isinstance(results, (tuple, list)) else (results,)


def _is_half(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float16


def _padded(x: Tensor, i: Inputs, value: float = 0.0) -> Tensor:
    """Pad as the `pad_type` of a convolution or a pooling says."""
    if i['pad_type'] == 'valid':
        return x
    if i['pad_type'] != 'custom':
        raise UserError(f'the padding {i["pad_type"]} cannot be checked without Core ML')
    top, bottom, left, right = i['pad'].tolist()
    return F.pad(x, (left, right, top, bottom), value=value)


def _conv(i: Inputs) -> Tensor:
    strides, dilations = i['strides'].tolist(), i['dilations'].tolist()
    x = _padded(i['x'], i)
    return F.conv2d(x, i['weight'], i['bias'], strides, 0, dilations, int(i['groups']))


def _upsample(i: Inputs) -> Tensor:
    corners = bool(i['align_corners'])
    return F.interpolate(i['x'], _upsampled_size(i), mode='bilinear', align_corners=corners)


def _upsampled_size(i: Inputs) -> list[int]:
    scales = i['scale_factor_height'], i['scale_factor_width']
    return [int(np.floor(s * side)) for s, side in zip(scales, i['x'].shape[-2:], strict=True)]


def _pad(i: Inputs) -> Tensor:
    if i['mode'] != 'constant':
        raise UserError(f'the padding {i["mode"]} cannot be checked without Core ML')
    pairs = i['pad'].view(-1, 2).flip(0).flatten().tolist()
    return F.pad(i['x'], pairs, value=float(i['constant_val']))


def _slice_by_index(i: Inputs) -> Tensor:
    x, steps = i['x'], i['stride']
    begins, ends = i['begin'].tolist(), i['end'].tolist()
    no_begin, no_end, squeezed = (
        np.zeros(x.dim(), bool) if i[name] is None else i[name].tolist()
        for name in ('begin_mask', 'end_mask', 'squeeze_mask')
    )
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        step = 1 if steps is None else int(steps[axis])
        if squeezed[axis]:
            rows = [begin]
        else:
            rows = range(x.shape[axis])[
                slice(None if no_begin[axis] else begin, None if no_end[axis] else end, step)
            ]
        x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.long))
    kept = [side for axis, side in enumerate(x.shape) if not squeezed[axis]]
    return x.reshape(kept)


def _topk(i: Inputs) -> Sequence[Tensor]:
    return torch.topk(i['x'], int(i['k']), dim=int(i['axis']), largest=not i['ascending'])


def _gather(i: Inputs) -> Tensor:
    x, axis, indices = i['x'], int(i['axis']), torch.as_tensor(i['indices']).long()
    return x.index_select(axis, indices.flatten()).reshape(
        *x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]
    )


def _expand_dims(i: Inputs) -> Tensor:
    rank = i['x'].dim() + len(i['axes'])
    x = i['x']
    for axis in sorted(axis % rank for axis in i['axes'].tolist()):
        x = x.unsqueeze(axis)
    return x


def _axes(i: Inputs) -> dict:
    return dict(dim=i['axes'].tolist(), keepdim=bool(i['keep_dims']))


OPERATIONS: dict[str, Callable[[Inputs], Tensor | Sequence[Tensor]]] = {
    'add': lambda i: i['x'] + i['y'],
    'cast': lambda i: i['x'],  # to the type of the result
    'classify': lambda i: (i['probabilities'].argmax(), i['probabilities']),
    'clip': lambda i: i['x'].clamp(float(i['alpha']), float(i['beta'])),
    'concat': lambda i: torch.cat(i['values'], int(i['axis'])),
    'conv': _conv,
    'exp': lambda i: i['x'].exp(),
    'expand_dims': _expand_dims,
    'floor': lambda i: i['x'].floor(),
    'floor_div': lambda i: torch.div(i['x'], i['y'], rounding_mode='floor'),
    'gather': _gather,
    'greater': lambda i: i['x'] > i['y'],
    'linear': lambda i: F.linear(i['x'], i['weight'], i['bias']),
    'maximum': lambda i: torch.maximum(i['x'], torch.as_tensor(i['y'])),
    'minimum': lambda i: torch.minimum(i['x'], torch.as_tensor(i['y'])),
    'mod': lambda i: torch.remainder(i['x'], i['y']),
    'mul': lambda i: i['x'] * i['y'],
    'pad': _pad,
    'real_div': lambda i: i['x'] / i['y'],
    'reduce_argmax': lambda i: i['x'].argmax(int(i['axis']), keepdim=bool(i['keep_dims'])),
    'reduce_mean': lambda i: i['x'].mean(**_axes(i)),
    'reduce_min': lambda i: i['x'].amin(**_axes(i)),
    'relu': lambda i: i['x'].relu(),
    'relu6': lambda i: i['x'].clamp(0, 6),
    'reshape': lambda i: i['x'].reshape(i['shape'].tolist()),
    'reverse': lambda i: i['x'].flip(i['axes'].tolist()),
    'sigmoid': lambda i: i['x'].sigmoid(),
    'slice_by_index': _slice_by_index,
    'softmax': lambda i: i['x'].softmax(int(i['axis'])),
    'split': lambda i: i['x'].split(i['split_sizes'].tolist(), int(i['axis'])),
    'sub': lambda i: i['x'] - i['y'],
    'tile': lambda i: i['x'].repeat(i['reps'].tolist()),
    'topk': _topk,
    'transpose': lambda i: i['x'].permute(i['perm'].tolist()),
    'upsample_bilinear': _upsample,
    'upsample_nearest_neighbor': lambda i: F.interpolate(i['x'], _upsampled_size(i)),
}
