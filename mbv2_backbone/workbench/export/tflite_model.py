"""Read, cut and extend a `.tflite` model with LiteRT's own schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from ...deploy.metadata import Detection
from .onnx_nms import least_score, num_final_boxes

SIGNATURE = 'serving_default'
_NMS = 'TFLite_Detection_PostProcess'


def read(data: bytes) -> schema.ModelT:
    """Return a model as objects, which hold all of its constants."""
    data = bytes(data)
    model = schema.ModelT.InitFromPackedBuf(data)
    for buffer in model.buffers:
        if buffer.offset > 1:  # the quantiser puts some after the model
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def pack(model: schema.ModelT) -> bytes:
    """Return the bytes of a model."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b'TFL3')
    return bytes(builder.Output())


def kind_of(model: schema.ModelT, operator: schema.OperatorT) -> int:
    """Return the `BuiltinOperator` of an operator."""
    return model.operatorCodes[operator.opcodeIndex].builtinCode


def outputs_of(model: schema.ModelT) -> dict[str, int]:
    """Return the tensor of each output, by its name in the signature."""
    return _by_name(model.signatureDefs[0].outputs)


def _by_name(entries: Sequence[schema.TensorMapT]) -> dict[str, int]:
    return {_text(entry.name): entry.tensorIndex for entry in entries}


def _text(name: str | bytes) -> str:
    """Return a name as a text; names that were read from a file are bytes."""
    return name.decode() if isinstance(name, bytes) else name


def cut(model: schema.ModelT, outputs: Mapping[str, int], *, casts_input: bool = True) -> None:
    """Leave in a model what its input and some outputs need, in place.

    Args:
        model: A model with one signature and one input.
        outputs: Tensors by name, which become the outputs in this order.
        casts_input: Whether the cast of the image to float32 is kept; otherwise its result is the
            input.
    """
    graph = model.subgraphs[0]
    (image,) = graph.inputs
    if not casts_input:
        first = next(op for op in graph.operators if image in op.inputs)
        if kind_of(model, first) == schema.BuiltinOperator.CAST:
            (image,) = first.outputs
            graph.operators.remove(first)
    needed, kept = set(outputs.values()), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(operator.inputs, operator.outputs)
    graph.operators = kept[::-1]
    _renumber(model, sorted((needed | {image}) - {-1}), image, outputs)


def _renumber(
    model: schema.ModelT, kept: list[int], image: int, outputs: Mapping[str, int]
) -> None:
    """Drop the tensors, buffers and operator codes that are not used any more."""
    graph = model.subgraphs[0]
    new = {old: i for i, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    for operator in graph.operators:
        operator.inputs = [new[index] for index in operator.inputs]
        operator.outputs = [new[index] for index in operator.outputs]
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
    users = [*graph.tensors, *(model.metadata or [])]
    buffers = sorted({0} | {user.buffer for user in users})
    model.buffers = [model.buffers[index] for index in buffers]
    for user in users:
        user.buffer = buffers.index(user.buffer)
    # The converter's names hold paths of this machine; the quantiser chooses operators by name.
    for i, tensor in enumerate(graph.tensors):
        tensor.name = f't{i}'
    graph.tensors[new[image]].name = 'image'
    for name, index in outputs.items():
        graph.tensors[new[index]].name = name
    _set_signature(model, {'image': new[image]}, {name: new[i] for name, i in outputs.items()})


def _set_signature(
    model: schema.ModelT, inputs: Mapping[str, int], outputs: Mapping[str, int]
) -> None:
    signature, graph = schema.SignatureDefT(), model.subgraphs[0]
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs, signature.outputs = (
        [_entry(name, index) for name, index in tensors.items()] for tensors in (inputs, outputs)
    )
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
    model.signatureDefs = [signature]


def _entry(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def add_buffer(model: schema.ModelT, data: bytes) -> int:
    """Add a buffer to a model; return its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def add_metadata(model: schema.ModelT, name: str, data: bytes) -> None:
    """Add an entry to the metadata of a model."""
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, add_buffer(model, data)
    model.metadata = [*(model.metadata or []), entry]


def add_nms(model: schema.ModelT, rules: Detection) -> None:
    """Let a model end in TensorFlow Lite's operator for non-maximum suppression, in place.

    The outputs `centres` `(1, P, 4)` and `candidates` `(1, P, C)` of the model are replaced by
    `boxes` `(1, D, 4)` as top, left, bottom and right in fractions of the image, `labels` and
    `scores` `(1, D)`, and `count` `(1,)`. The former are the vertical and horizontal centre, and
    the logarithms of the height and of the width, in fractions of the image: so the operator
    suppresses the very boxes that it gives. Codes of the priors, its usual input, would make it
    suppress boxes that are not clipped yet.
    """
    graph, outputs = model.subgraphs[0], outputs_of(model)
    centres, candidates = outputs.pop('centres'), outputs.pop('candidates')
    limit, num_priors = num_final_boxes(rules), sum(rules.level_sizes)
    priors = np.tile(np.float32([0, 0, 1, 1]), (num_priors, 1))
    anchors = _add_tensor(model, 'unit_priors', priors.shape, add_buffer(model, priors.tobytes()))
    found = {
        name: _add_tensor(model, name, shape, 0)
        for name, shape in (
            ('boxes', (1, limit, 4)),
            ('labels', (1, limit)),
            ('scores', (1, limit)),
            ('count', (1,)),
        )
    }
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = _NMS, 1
    model.operatorCodes.append(code)
    options = dict(
        max_detections=limit,
        detections_per_class=min(limit, num_priors),
        max_classes_per_detection=1,
        use_regular_nms=True,
        num_classes=len(rules.classes),
        nms_score_threshold=least_score(rules),
        nms_iou_threshold=rules.iou_thr,
        **dict.fromkeys(('y_scale', 'x_scale', 'h_scale', 'w_scale'), 1.0),
    )
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [centres, candidates, anchors], list(found.values())
    operator.customOptions = np.frombuffer(bytes(flexbuffers.Dumps(options)), np.uint8)
    graph.operators.append(operator)
    _set_signature(model, _by_name(model.signatureDefs[0].inputs), found | outputs)


def _add_tensor(
    model: schema.ModelT,
    name: str,
    shape: tuple[int, ...],
    buffer: int,
    kind: int = schema.TensorType.FLOAT32,
) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
    tensor.type = kind
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
