"""Export to OpenVINO's own format, from the ONNX export."""

from __future__ import annotations

import os.path as osp
import tempfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import openvino as ov

from ...deploy.metadata import PREFIX, Metadata
from .graph import ExportGraph
from .int8 import quantise_onnx
from .saved import Saved, save_both
from .to_onnx import export_both


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write a graph to an `.xml` and a `.bin` file."""
    raw, final = export_both(graph, metadata)
    converted = to_openvino(final, metadata)
    raw_converted = converted if raw is final else to_openvino(raw, replace(metadata, is_raw=True))
    return replace(save_both(raw_converted, converted, path, save_openvino), model=final)


def save_int8(
    saved: Saved, metadata: Metadata, images: Sequence[np.ndarray], path: str, _kind: str
) -> None:
    """Write an 8-bit file; see `int8.quantise_onnx`."""
    model = quantise_onnx(saved.model, images, metadata.batch_size or 1)
    save_openvino(to_openvino(model, metadata), path)


def to_openvino(model: onnx.ModelProto, metadata: Metadata) -> ov.Model:
    """Convert an ONNX model from `export_onnx`, including its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'model.onnx')
        onnx.save(model, path)
        converted = ov.convert_model(path)
    set_metadata(converted, metadata)
    return converted


def set_metadata(model: ov.Model, metadata: Metadata) -> None:
    """Write the metadata into a model's `rt_info`."""
    for key, value in metadata.to_strings().items():
        model.set_rt_info(value, [PREFIX, key])


def save_openvino(model: ov.Model, path: str) -> None:
    """Write `.xml` and `.bin`, with weights in full precision."""
    ov.save_model(model, path, compress_to_fp16=False)
