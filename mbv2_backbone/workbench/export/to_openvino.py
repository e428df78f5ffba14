"""Export to OpenVINO's own format, from the ONNX export."""

from __future__ import annotations

import os.path as osp
import tempfile

import onnx
import openvino as ov

from ...deploy.metadata import PREFIX, Metadata


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
