"""Inspect a `.pt2` file before torch opens it, because `torch.export.load` runs code in it."""

from __future__ import annotations

import io
import json
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from os import PathLike
from typing import Any

import torch

from ..common.messages import UserError, first_line

# `_operator` also holds functions that call others; these only compute.
_TARGET = re.compile(
    r'torch\.ops\.(aten|prims|torchvision)\.\w+\.\w+|torch\.sym_\w+|math\.\w+|'
    r'_operator\.(add|sub|mul|pow|neg|mod|floordiv|truediv|getitem|and_|or_|eq|ne|lt|le|gt|ge)'
)
_FUNCTIONS = ('torch', '_operator', 'math', '#')
# torch hands the sizes to sympy, which evaluates them as Python.
_IN_SIZES = re.compile(
    r'[subz]\d+|Symbol|Integer|Eq|Ne|Mod|Min|Max|FloorDiv|CeilDiv|PythonMod|True|False|'
    r'positive|nonnegative|integer'
)
# Records that torch never unpickles: graphs, text, lists of tensors, their raw bytes.
_GRAPH = re.compile(r'[^/]+/models/.+|serialized_exported_program\.json')
_TEXT = re.compile(
    r'[^/]+/(extra/.+|archive_format|archive_version|byteorder|\.data/(version|serialization_id))|'
    r'version|extra_files/[^/]+'
)
_CONFIG = re.compile(r'[^/]+/data/(weights|constants)/[^/]+_config\.json')
_RAW = re.compile(r'[^/]+/data/(weights/weight|constants/tensor)_\d+')
_ATTRIBUTE = re.compile(r'\.\s*[A-Za-z_]')


def check_program(path: str | PathLike[str]) -> None:
    """Reject a `.pt2` file that contains anything but tensors and torch's operators.

    Raises:
        UserError: It names what would run.
        zipfile.BadZipFile: It is not an archive.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            _check_records(archive)
        except ValueError as error:
            raise UserError(f'{path} is refused: {error}') from error


def _check_records(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    # torch looks up records without regard to case, and may find a different one than zipfile.
    twice = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
    if twice:
        raise ValueError(f'{twice[0]} occurs in it more than once')
    raw, pickled = _tensor_records(archive)
    for name in names:
        if name.lower() not in pickled:
            if name.lower() in raw or _TEXT.fullmatch(name) or _CONFIG.fullmatch(name):
                continue
            if _GRAPH.fullmatch(name):
                _check_graph(name, json.loads(archive.read(name)))
                continue
        _check_pickle(name, archive.read(name))


def _tensor_records(archive: zipfile.ZipFile) -> tuple[set[str], set[str]]:
    """Return, in lower case, the tensor records that torch reads as raw bytes, and the others."""
    raw, pickled = set(), set()
    for name in filter(_CONFIG.fullmatch, archive.namelist()):
        for _, entry in _entries(json.loads(archive.read(name))):
            if isinstance(entry, dict) and 'path_name' in entry:
                record = f'{posixpath.dirname(name)}/{entry["path_name"]}'.lower()
                is_raw = entry.get('use_pickle') is False and _RAW.fullmatch(record)
                (raw if is_raw else pickled).add(record)
    return raw - pickled, pickled


def _check_pickle(name: str, data: bytes) -> None:
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:
        reason = first_line(error)
        raise ValueError(f'its record {name} contains more than tensors ({reason})') from error


def _check_graph(name: str, graph: Any) -> None:
    for key, value in _entries(graph):
        if key == 'guards_code' and value:
            raise ValueError(f'its record {name} contains code: {str(value)[:80]}')
        is_function = key == 'target' and str(value).startswith(_FUNCTIONS)
        if is_function and not _TARGET.fullmatch(value):
            raise ValueError(f'its record {name} calls {value}, which is not a torch operator')
        if key == 'expr_str' and not _is_size(value):
            raise ValueError(f'its record {name} has the size {value!s:.80}, which could be code')


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        yield from node.items()
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _entries(item)


def _is_size(text: Any) -> bool:
    if not isinstance(text, str) or _ATTRIBUTE.search(text):
        return False
    return all(_IN_SIZES.fullmatch(word) for word in re.findall(r'[A-Za-z_]\w*', text))
