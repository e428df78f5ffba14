"""Metadata of a `.tflite` file: TensorFlow Lite's own, which MediaPipe reads, and ours.

TensorFlow Lite's is a flatbuffer in the model. Its associated files, among them our metadata, are
a zip archive after the model. The numbers here are those of its schema, `metadata_schema.fbs` of
MediaPipe.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from ...deploy.metadata import Metadata
from ...deploy.runtime_files import METADATA_FILE

NAME = 'TFLITE_METADATA'
_VERSION, _SEGMENTER_VERSION = '1.5.0', '1.0.0'
_SOFTMAX = 2  # of the enum Activation in `image_segmenter_metadata_schema.fbs`
_RGB = 1
_IMAGE, _BOXES, _FEATURE = 2, 3, 1  # of the union ContentProperties
_NORMALISATION = 1  # of the union ProcessUnitOptions
_AXIS_LABELS, _VALUE_LABELS = 2, 3  # of the enum AssociatedFileType
_BOX_LABELS, _MASK_LABELS, _IMAGE_LABELS = 'labels.txt', 'mask_labels.txt', 'image_labels.txt'
_LABELS = {  # file and its type, by output
    'labels': (_BOX_LABELS, _VALUE_LABELS),
    'logits': (_MASK_LABELS, _AXIS_LABELS),
    'class_logits': (_IMAGE_LABELS, _AXIS_LABELS),
    'probabilities': (_IMAGE_LABELS, _AXIS_LABELS),
}
# As MediaPipe finds the outputs of a detector by name.
_ROLES = {
    'boxes': 'location',
    'labels': 'category',
    'scores': 'score',
    'count': 'number of detections',
}


class Byte(int):
    """A field of one byte; other integers have four."""


def describe_model(metadata: Metadata, outputs: Sequence[str], name: str) -> bytes:
    """Return TensorFlow Lite's metadata of a model.

    Args:
        metadata: Our metadata.
        outputs: Names of the model's outputs, in order.
        name: Name of the model.
    """
    file = {0: METADATA_FILE, 1: 'What mbv2_backbone.deploy.Predictor reads, as JSON.'}
    graph = {
        2: [_input(metadata)],
        3: [_output(metadata, output) for output in outputs],
    }
    if metadata.segmentation:
        # MediaPipe takes the largest positive output of a pixel: of logits, which may all be
        # negative, it has to make probabilities first.
        activation = _finished({0: Byte(_SOFTMAX), 1: _SEGMENTER_VERSION}, b'V001')
        graph[9] = [{0: 'SEGMENTER_METADATA', 1: np.frombuffer(activation, np.uint8)}]
    model = {0: name, 3: [graph], 6: [file], 7: _VERSION}
    return _finished(model, b'M001')


def _finished(table: Mapping[int, Any], identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, table), identifier)
    return bytes(builder.Output())


def _input(metadata: Metadata) -> dict:
    # The model normalises; who prepares the image must leave its values from 0 to 255.
    height, width = metadata.input_size
    size = {0: width, 1: height}
    normalisation = {0: Byte(_NORMALISATION), 1: {0: [0.0], 1: [1.0]}}
    return {
        0: 'image',
        1: 'RGB image, 0 to 255',
        3: {0: Byte(_IMAGE), 1: {0: Byte(_RGB), 1: size}},
        4: [normalisation],
        5: {0: [255.0], 1: [0.0]},
    }


def _output(metadata: Metadata, name: str) -> dict:
    table: dict = {0: name}
    if name in _ROLES and not metadata.is_raw:
        table[0] = _ROLES[name]
        content = {0: Byte(_FEATURE), 1: {}}
        if name == 'boxes':
            corners = {0: np.array([1, 0, 3, 2], np.uint32), 1: Byte(1), 2: Byte(0)}
            content = {0: Byte(_BOXES), 1: corners}
        table[3] = content | ({} if name == 'count' else {2: {0: 2, 1: 2}})
    if name == 'probabilities':
        table |= {3: {0: Byte(_FEATURE), 1: {}}, 5: {0: [1.0], 1: [0.0]}}
    if name in _LABELS:
        file, kind = _LABELS[name]
        table[6] = [{0: file, 2: Byte(kind)}]
    return table


def _table(builder: flatbuffers.Builder, fields: Mapping[int, Any]) -> int:
    """Write a table, given as its values by field number; return its offset."""
    values = {
        number: value if isinstance(value, int) else _offset(builder, value)
        for number, value in fields.items()
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for number, value in values.items():
        if not isinstance(fields[number], int):
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
        elif isinstance(value, Byte):
            builder.PrependInt8Slot(number, value, 0)
        else:
            builder.PrependInt32Slot(number, value, 0)
    return builder.EndObject()


def _offset(builder: flatbuffers.Builder, value: Any) -> int:
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, Mapping):
        return _table(builder, value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, np.float32))
    tables = [_table(builder, entry) for entry in value]
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def with_files(model: bytes, metadata: Metadata, others: Mapping[str, bytes]) -> bytes:
    """Return a model with its associated files after it: labels, our metadata and others."""
    files = {METADATA_FILE: json.dumps(metadata.to_strings()).encode(), **others}
    for name, part in (
        (_BOX_LABELS, metadata.detection),
        (_MASK_LABELS, metadata.segmentation),
        (_IMAGE_LABELS, metadata.classification),
    ):
        if part:
            files[name] = '\n'.join(part.classes).encode()
    data = io.BytesIO(model)
    # MediaPipe maps the files and so takes uncompressed ones only.
    with zipfile.ZipFile(data, 'a', zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # a fixed date: equal files
    return data.getvalue()
