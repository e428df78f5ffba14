"""Read the variables of TensorFlow 1 files without TensorFlow: frozen graphs and checkpoints.

A frozen graph (`.pb`) holds its variables as constants. A checkpoint is a pair of files, `.index`
and `.data-00000-of-00001`; the `variables` of a SavedModel are such a pair, too. The names and axes
are TensorFlow's: kernels `(height, width, in, out)`, depthwise ones `(height, width, in, 1)`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..common.messages import first_line

AVERAGED = '/ExponentialMovingAverage'
_READ = '/read'  # freezing leaves it where a variable was

_TYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 19: np.float16}  # types.proto
_FLOATS = (1, 2, 19)
_INDEX_MAGIC = 0xDB4775248B80FB57  # at the end of a LevelDB table


def read_graph(path: Path) -> dict[str, Tensor]:
    """Return the float constants of a frozen graph that were variables, by name.

    Raises:
        ValueError: If it is not a graph, is truncated, or was not frozen.
        ImportError: If tensorboard, which brings the protocol buffers, is missing.
    """
    try:
        from google.protobuf.message import DecodeError
        from tensorboard.compat.proto.graph_pb2 import GraphDef
    except ImportError as error:
        raise ImportError(f'{path} needs tensorboard: pip install tensorboard') from error
    graph = GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(
            f'{path} is not a frozen graph of TensorFlow, or is truncated ({first_line(error)}); '
            f'download it again'
        ) from error
    found = {}
    variables = {
        name.removesuffix(_READ) for node in graph.node if (name := node.name).endswith(_READ)
    }
    for node in graph.node:
        tensor = node.attr['value'].tensor
        if node.op == 'Const' and node.name in variables and tensor.dtype in _FLOATS:
            shape = [axis.size for axis in tensor.tensor_shape.dim]
            values = _constant(tensor)
            if values.size == np.prod(shape):
                found[node.name] = torch.from_numpy(values.reshape(shape).astype(np.float32))
    if any(node.op in ('VariableV2', 'VarHandleOp') for node in graph.node):
        raise ValueError(
            f'{path} is a graph without its weights (it was not frozen); give the checkpoint '
            f'beside it or frozen_inference_graph.pb'
        )
    return found


def _constant(tensor: object) -> np.ndarray:
    """Return a constant's values, which are bytes or, if they are few, numbers."""
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, _TYPES[tensor.dtype])
    values = np.array([*tensor.float_val, *tensor.double_val], np.float32)
    size = int(np.prod([axis.size for axis in tensor.tensor_shape.dim]))
    return np.repeat(values, size) if len(values) == 1 else values


def read_bundle(index: Path) -> dict[str, Tensor]:
    """Return the numeric variables of a checkpoint by name, averaged ones in place of the others.

    Args:
        index: The `.index` file; the data is next to it.

    Raises:
        ValueError: If a file is missing, truncated or of another type.
    """
    table = index.read_bytes()
    try:
        entries = dict(_table_entries(table))
        num_shards = _fields(entries.pop(b'')).get(1, 1)
        found = dict(_variables(index, entries, num_shards))
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(
            f'{index} is not the index of a TensorFlow checkpoint, or is truncated'
        ) from error
    averaged = {name.removesuffix(AVERAGED): name for name in found if name.endswith(AVERAGED)}
    return {name: found[averaged.get(name, name)] for name in found if not name.endswith(AVERAGED)}


def _variables(
    index: Path, entries: dict[bytes, bytes], num_shards: int
) -> Iterator[tuple[str, Tensor]]:
    shards: dict[int, bytes] = {}
    for name, entry in entries.items():
        fields = _fields(entry)  # BundleEntryProto
        kind, shard = fields.get(1, 0), fields.get(3, 0)
        if kind not in _TYPES or 7 in fields:  # text, or a part of a partitioned variable
            continue
        if shard not in shards:
            prefix = str(index).removesuffix('.index')
            path = Path(f'{prefix}.data-{shard:05d}-of-{num_shards:05d}')
            if not path.is_file():
                raise ValueError(f'{index} needs {path.name} next to it, which holds the values')
            shards[shard] = path.read_bytes()
        offset, size = fields.get(4, 0), fields.get(5, 0)
        shape = [_fields(axis).get(1, 0) for axis in _repeated(fields.get(2, b''), 2)]
        content = shards[shard][offset : offset + size]
        values = np.frombuffer(content, _TYPES[kind]) if len(content) == size else np.empty(0)
        if values.size != np.prod(shape, dtype=np.int64):
            raise ValueError(f'the data of {index} is truncated at {name.decode()}')
        dtype = np.float32 if kind in _FLOATS else values.dtype
        yield name.decode(), torch.from_numpy(values.reshape(shape).astype(dtype))


def _table_entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a LevelDB table, as TensorFlow writes it: not compressed."""
    footer = table[-48:]
    if len(footer) < 48 or struct.unpack('<Q', footer[-8:])[0] != _INDEX_MAGIC:
        raise IndexError('not a table')
    _, at = _varint(footer, 0)  # the block of statistics, which is empty
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    for _, handle in _block_entries(table, offset, size):
        start, at = _varint(handle, 0)
        yield from _block_entries(table, start, _varint(handle, at)[0])


def _block_entries(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block = table[offset : offset + size]
    if len(block) < size or table[offset + size]:  # the byte after a block names its compression
        raise IndexError('truncated or compressed')
    (num_restarts,) = struct.unpack('<I', block[-4:])
    end, at, key = size - 4 * (num_restarts + 1), 0, b''
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Return the fields of a protocol buffer by number; of a repeated one the last."""
    return dict(_all_fields(message))


def _repeated(message: bytes, number: int) -> list[bytes]:
    return [value for field, value in _all_fields(message) if field == number]


def _all_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + size], at + size
        yield tag >> 3, value
