"""Find MediaPipe's TensorFlow Lite detector in its npm package."""

from __future__ import annotations

import re
import tarfile
from os import PathLike
from pathlib import Path

from mbv2_backbone.common.messages import UserError

MODEL_NAME = 'ssd_mobilenetv2'
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
