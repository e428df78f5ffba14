"""Read checkpoint files of every type without running code in them.

The first bytes determine a file's type, not its name. Keras' configs are never deserialised.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ..common.messages import first_line
from .tensorflow_files import read_bundle, read_graph
from .tflite_files import read_tflite

KERAS_WEIGHTS = 'model.weights.h5'
HEAD_BYTES = 512
# Weights hardly compress: a file that unpacks to more is not a checkpoint of a MobileNetV2.
MAX_UNPACKED_RATIO = 20
MIN_SUSPECT_BYTES = 16 * 2**20

_HDF5_MAGIC = b'\x89HDF\r\n\x1a\n'
_ZIP_MAGIC = b'PK\x03\x04'
_SHARD = re.compile(r'\.data-\d{5}-of-\d{5}$')
_SAVED_MODEL_CHECKPOINT = 'variables/variables'  # in its folder
_TFLITE_MAGIC = b'TFL3'
_GRAPH_START = re.compile(rb'\n(?:[\x80-\xff]{1,4})?[\x00-\x7f]\n', re.DOTALL)  # a node, its name
_UNSAFE_GLOBAL = re.compile(r'GLOBAL ([\w.]+)')


def file_type(path: str | PathLike[str]) -> str:
    """Return `zip`, `hdf5`, `safetensors`, `pickle`, `tflite`, `graph` or `bundle`.

    The last two are TensorFlow's: a frozen graph, and a checkpoint of several files.

    Raises:
        ValueError: If the file is missing, empty, a web page, a text, or of an unknown type.
    """
    path = Path(path)
    if find_checkpoint_index(path) is not None:
        return 'bundle'
    if not path.is_file():
        problem = 'is a folder; give the file in it' if path.is_dir() else 'does not exist'
        raise ValueError(f'checkpoint {path} {problem}')
    with path.open('rb') as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise ValueError(f'checkpoint {path} is empty; download or save it again')
    if head.startswith(_ZIP_MAGIC):
        return 'zip'
    if head.startswith(_HDF5_MAGIC):
        return 'hdf5'
    if head[8:9] == b'{':
        return 'safetensors'
    if head.startswith(b'\x80'):
        return 'pickle'
    if head[4:8] == _TFLITE_MAGIC:
        return 'tflite'
    if _GRAPH_START.match(head):
        return 'graph'
    raise ValueError(f'{path} is not a checkpoint: {_describe(head)}')


def _describe(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        return 'it is a web page, saved instead of the checkpoint. Download the file itself'
    if start.startswith(b'version https://git-lfs'):
        return 'it is a Git LFS pointer. Run git lfs pull'
    text = head.decode('utf-8', errors='ignore')
    if text.isprintable() or all(c.isprintable() or c.isspace() for c in text[:-1]):
        return f'it is text that begins with {text[:40]!r}'
    return (
        'its first bytes are of no known type (.pth, .pt, .safetensors, .h5, .keras, .pb, .ckpt, '
        '.tflite)'
    )


def find_checkpoint_index(path: Path) -> Path | None:
    """Return the `.index` file of a checkpoint that is named in any way, if there is one.

    Args:
        path: The prefix (`model.ckpt`), one of the pair, or the folder of a SavedModel.
    """
    prefix = _SHARD.sub('', str(path)).removesuffix('.index')
    if path.is_dir():
        prefix = str(path / _SAVED_MODEL_CHECKPOINT)
    index = Path(f'{prefix}.index')
    return index if index.is_file() else None


def read_checkpoint(path: str | PathLike[str], *, allow_pickle: bool = False) -> dict[str, Any]:
    """Read a checkpoint of torch, Keras or TensorFlow onto the CPU.

    Args:
        path: A `.pth`, `.pt`, `.safetensors`, `.h5`, `.weights.h5`, `.keras`, `.pb` (frozen) or
            `.tflite` file, a `.ckpt` (or one of its files), or the folder of a SavedModel.
        allow_pickle: Let a torch file run arbitrary code. Only for files you trust.

    Returns:
        What was saved: a state dict, or a training checkpoint that contains one.

    Raises:
        ValueError: If the file is not a checkpoint, damaged, a zip bomb, or would run code.
        ImportError: If the package that reads this type is missing.
    """
    path = Path(path)
    kind = file_type(path)
    if kind == 'hdf5':
        return dict(_read_hdf5(path, path))
    if kind == 'safetensors':
        return _read_safetensors(path)
    if kind == 'bundle':
        return read_bundle(find_checkpoint_index(path))
    if kind == 'graph':
        return read_graph(path)
    if kind == 'tflite':
        return read_tflite(path)
    if kind == 'zip':
        names = _checked_archive_names(path)
        if KERAS_WEIGHTS in names:
            return dict(_read_hdf5(io.BytesIO(_unpacked(path, KERAS_WEIGHTS)), path))
        if any(name.endswith('constants.pkl') for name in names):
            raise ValueError(
                f'{path} is a TorchScript program, not weights; '
                f'save its state_dict() with torch.save instead'
            )
        if not any(name.endswith('data.pkl') for name in names):
            raise ValueError(f'{path} is a zip archive, but neither of torch nor of Keras')
    return _read_torch(path, allow_pickle)


def _checked_archive_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ValueError(_damaged(path, error)) from error
    _refuse_bomb(path, sum(entry.file_size for entry in entries))
    return [entry.filename for entry in entries]


def _unpacked(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise ValueError(_damaged(path, error)) from error


def _refuse_bomb(path: Path, unpacked: int) -> None:
    size = path.stat().st_size
    if unpacked > max(MIN_SUSPECT_BYTES, MAX_UNPACKED_RATIO * size):
        raise ValueError(
            f'{path} has {size} bytes and would unpack to {unpacked}: not weights but a zip bomb'
        )


def _damaged(path: Path, error: Exception) -> str:
    reason = first_line(error)
    return f'{path} is truncated or damaged ({reason}); download or save it again'


def _read_torch(path: Path, allow_pickle: bool) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        unsafe = _UNSAFE_GLOBAL.search(str(error))
        if not unsafe:
            raise ValueError(_damaged(path, error)) from error
        raise ValueError(
            f'{path} is refused: to load it, Python would have to run {unsafe[1]}, which may be '
            f'any code. If you trust its author, pass allow_pickle=True (convert_weights.py: '
            f'--allow-pickle)'
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, IndexError, TypeError) as error:
        raise ValueError(_damaged(path, error)) from error
    if isinstance(checkpoint, torch.nn.Module):
        checkpoint = checkpoint.state_dict()
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} holds a {type(checkpoint).__name__}; expected a dict of tensors by name'
        )
    return checkpoint


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f'{path} needs safetensors: pip install safetensors') from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(_damaged(path, error)) from error


def _read_hdf5(file: Path | IO[bytes], path: Path) -> Iterable[tuple[str, Tensor]]:
    """Return the datasets by their path in the file, with layer names where the file has them."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{path} needs h5py: pip install h5py') from error
    try:
        with h5py.File(file, 'r') as root:
            nodes: list[tuple[str, Any]] = []
            # Links to other files are not followed.
            root.visititems(lambda name, node: nodes.append((name, node)))
            datasets = [(name, node) for name, node in nodes if isinstance(node, h5py.Dataset)]
            numeric = [(name, data) for name, data in datasets if data.dtype.kind in 'fiu']
            _refuse_bomb(path, sum(data.size * data.dtype.itemsize for _, data in numeric))
            if any(data.external for _, data in numeric):
                raise ValueError(f'{path} stores its tensors in other files; save it as one file')
            return [
                (_layer_path(name, data), torch.from_numpy(np.asarray(data[()])))
                for name, data in numeric
            ]
    except (OSError, RuntimeError) as error:
        raise ValueError(_damaged(path, error)) from error


def _layer_path(name: str, dataset: Any) -> str:
    """Replace Keras 3's class and number with the layer's own name, if the file has it."""
    *groups, variables, index = ['', *name.split('/')]
    layer_name = dataset.parent.attrs.get('name') if variables == 'vars' else None
    if not isinstance(layer_name, str):
        return name
    return '/'.join([*groups[1:-1], layer_name, variables, index])
