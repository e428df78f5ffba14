"""Read the convolutions of a TensorFlow Lite model as the variables that they were made of.

Batch norms are folded into a `.tflite`'s convolutions. They come back as batch norms that do
nothing but add the bias, so that a network with batch norms can be filled and trained further.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .layouts.tensorflow_names import batch_norm_eps, has_batch_norm

_TYPES = {0: np.float32, 1: np.float16}  # TensorType in TensorFlow Lite's schema
# What a converter appends to a layer's name; a fused one names several layers.
_SUFFIX = re.compile(
    r'/(weights|depthwise_weights|Conv2D|BatchNorm|BiasAdd|separable_conv2d)(?![A-Za-z0-9]).*$'
)
_CONVOLUTIONS = ('CONV_2D', 'DEPTHWISE_CONV_2D')
_AXES = (1, 2, 3, 0)  # (out, height, width, in) or (1, height, width, channels) to TensorFlow's


def read_tflite(path: Path) -> dict[str, Tensor]:
    """Return the variables of a model's convolutions, named and laid out as in TensorFlow.

    Raises:
        ValueError: If the file is damaged, or a convolution is quantised to integers.
        ImportError: If the package `tflite` is missing.
    """
    return variables_of(path.read_bytes(), str(path))


def variables_of(model: bytes, name: str) -> dict[str, Tensor]:
    """Do what `read_tflite` does for a model in memory; `name` is for messages."""
    try:
        import tflite
    except ImportError as error:
        raise ImportError(f'{name} needs tflite: pip install tflite') from error
    found: dict[str, Tensor] = {}
    try:
        root = tflite.Model.GetRootAsModel(model, 0)
        graph = root.Subgraphs(0)
        operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
        kinds = {
            getattr(tflite.BuiltinOperator, kind): kind for kind in (*_CONVOLUTIONS, 'DEQUANTIZE')
        }
        halves: dict[int, int] = {}  # float16 tensors by the float32 ones that are made of them
        for operator in operators:
            code = root.OperatorCodes(operator.OpcodeIndex())
            kind = kinds.get(max(code.DeprecatedBuiltinCode(), code.BuiltinCode()))
            if kind == 'DEQUANTIZE':
                halves[operator.Outputs(0)] = operator.Inputs(0)
            elif kind is not None:
                tensors = [operator.Inputs(i) for i in range(1, operator.InputsLength())]
                scope = _SUFFIX.sub('', graph.Tensors(tensors[0]).Name().decode().split(';')[0])
                weight, *biases = (
                    _constant(root, graph, halves.get(i, i), name) for i in tensors if i >= 0
                )
                is_depthwise = kind != 'CONV_2D'
                leaf = 'depthwise_weights' if is_depthwise else 'weights'
                found[f'{scope}/{leaf}'] = weight = weight.permute(_AXES).contiguous()
                outputs = weight.shape[2] if is_depthwise else weight.shape[3]
                found |= _norm_or_bias(scope, biases[0] if biases else torch.zeros(outputs))
    except (IndexError, TypeError, AttributeError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f'{name} is truncated or damaged; download it again') from error
    return found


def _norm_or_bias(scope: str, bias: Tensor) -> dict[str, Tensor]:
    if not has_batch_norm(scope):
        return {f'{scope}/biases': bias}
    one = torch.ones_like(bias)
    values = dict(
        gamma=one, beta=bias, moving_mean=0 * one, moving_variance=(1 - batch_norm_eps(scope)) * one
    )
    return {f'{scope}/BatchNorm/{name}': value for name, value in values.items()}


def _constant(root: Any, graph: Any, index: int, name: str) -> Tensor:
    tensor = graph.Tensors(index)
    if tensor.Type() not in _TYPES:
        raise ValueError(
            f'{name} is quantised: {tensor.Name().decode().split(";")[0]} holds integers. Weights '
            f'of float32 and float16 models can be read'
        )
    data, shape = root.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), tensor.ShapeAsNumpy()
    kind = np.dtype(_TYPES[tensor.Type()])
    if len(data) != np.prod(shape) * kind.itemsize:
        raise IndexError('truncated')
    return torch.from_numpy(np.frombuffer(data, kind).astype(np.float32).reshape(shape))
