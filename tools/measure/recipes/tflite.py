"""Read the convolutions of a MobileNetV2 from a TensorFlow Lite model."""

from __future__ import annotations

import re
import tarfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbv2_backbone.common.messages import UserError

Convolution = tuple[Tensor, Tensor]
"""Weight `(out, in, kh, kw)` or depthwise `(out, 1, kh, kw)`, and bias `(out,)`, in float32."""

MODEL_NAME = 'ssd_mobilenetv2'
LAST_CONVOLUTION = 'MobilenetV2/Conv_1/'
_TYPES = {0: np.float32, 1: np.float16}  # TensorType in TensorFlow Lite's schema
_FILE_RANGE = re.compile(
    r'"filename": *"(?P<name>[^"]+)", *"start": *(?P<start>\d+), *"end": *(?P<end>\d+)'
)


def read_model(path: str | PathLike[str]) -> bytes:
    """Return a `.tflite` file, or that of MediaPipe's Objectron out of its npm package.

    Args:
        path: A `.tflite`, or what `npm pack @mediapipe/objectron` leaves, a `.tgz`.

    Raises:
        UserError: If the file is missing, or holds no such model.
    """
    path = Path(path)
    try:
        model = _from_package(path) if path.suffix == '.tgz' else path.read_bytes()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f'{path} cannot be read: {error}') from error
    if model[4:8] != b'TFL3':
        raise UserError(f'{path} is not a TensorFlow Lite model and contains no {MODEL_NAME}')
    return model


def _from_package(path: Path) -> bytes:
    """Emscripten packs files into one `.data`; the loader beside it knows where each begins."""
    with tarfile.open(path) as package:
        files = {Path(member.name).name: member for member in package if member.isfile()}
        for name, member in files.items():
            data = files.get(name.removesuffix('_loader.js') + '.data')
            if not name.endswith('_loader.js') or data is None:
                continue
            loader = package.extractfile(member).read().decode()
            for found in _FILE_RANGE.finditer(loader):
                if MODEL_NAME in found['name']:
                    packed = package.extractfile(data).read()
                    return packed[int(found['start']) : int(found['end'])]
    return b''


def folded_convolutions(model: bytes) -> list[Convolution]:
    """Return MobileNetV2's convolutions with their batch norm folded in, from first to last.

    Args:
        model: A detector of TensorFlow's Object Detection API, in float32 or float16. Convolutions
            of its boxes and classes, and those after the backbone's last, are left out.

    Raises:
        ImportError: If the package `tflite` is missing.
        UserError: If the model has no such backbone, or is quantised.
    """
    try:
        import tflite
    except ImportError as error:
        raise ImportError('reading a .tflite needs tflite: pip install tflite') from error
    root = tflite.Model.GetRootAsModel(model, 0)
    graph = root.Subgraphs(0)
    halves: dict[int, int] = {}  # float16 tensors by the float32 ones that are made of them
    convolutions = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = root.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        if kind == tflite.BuiltinOperator.DEQUANTIZE:
            halves[operator.Outputs(0)] = operator.Inputs(0)
        depthwise = kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D
        if not depthwise and kind != tflite.BuiltinOperator.CONV_2D:
            continue
        name = graph.Tensors(operator.Inputs(1)).Name().decode()
        if not depthwise and 'Predictor' in name:
            continue
        weight, bias = (
            _constant(root, graph.Tensors(halves.get(tensor, tensor)))
            for tensor in (operator.Inputs(1), operator.Inputs(2))
        )
        axes = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        convolutions.append((weight.permute(axes).contiguous(), bias))
        if LAST_CONVOLUTION in name:
            return convolutions
    raise UserError(
        f'the model has no convolution {LAST_CONVOLUTION}, so there is no MobileNetV2 to read'
    )


def _constant(root: Any, tensor: Any) -> Tensor:
    if tensor.Type() not in _TYPES:
        raise UserError(f'{tensor.Name().decode()} is quantised; float32 and float16 can be read')
    data = root.Buffers(tensor.Buffer()).DataAsNumpy()
    values = np.frombuffer(data.tobytes(), _TYPES[tensor.Type()]).astype(np.float32)
    return torch.from_numpy(values.reshape(tensor.ShapeAsNumpy()))
