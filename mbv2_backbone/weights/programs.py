"""Looking into a `.pt2` file before torch opens it, for `torch.export.load` runs what is in it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from os import PathLike
from typing import Any

import torch

from ..errors import UserError

# `_operator` holds functions that call others, too; these only compute.
_TARGET = re.compile(
    r'torch\.ops\.(aten|prims|torchvision)\.\w+\.\w+|torch\.sym_\w+|math\.\w+|'
    r'_operator\.(add|sub|mul|pow|neg|mod|floordiv|truediv|getitem|and_|or_|eq|ne|lt|le|gt|ge)'
)
# torch hands the sizes to sympy, which evaluates them as Python.
_IN_SIZES = re.compile(
    r'[subz]\d+|Symbol|Integer|Eq|Ne|Mod|Min|Max|FloorDiv|CeilDiv|PythonMod|True|False|'
    r'positive|nonnegative|integer'
)
_ATTRIBUTE = re.compile(r'\.\s*[A-Za-z_]')


def check_program(path: str | PathLike[str]) -> None:
    """Refuse a `.pt2` file that holds more than tensors and the operators of torch.

    Raises:
        UserError: It names what would run.
        zipfile.BadZipFile: It is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            try:
                _check_record(archive, name)
            except ValueError as error:
                raise UserError(f'{path} is refused: {error}') from error


def _check_record(archive: zipfile.ZipFile, name: str) -> None:
    with archive.open(name) as file:
        start = file.read(4)
    if start.startswith((b'PK\x03\x04', b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')):
        _check_pickle(name, archive.read(name))
    elif '/models/' in f'/{name}' or name.endswith('program.json'):
        _check_graph(name, json.loads(archive.read(name)))


def _check_pickle(name: str, data: bytes) -> None:
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f'{name} in it holds more than tensors ({reason})') from error


def _check_graph(name: str, graph: Any) -> None:
    for key, value in _entries(graph):
        if key == 'guards_code' and value:
            raise ValueError(f'{name} in it holds code of its own: {str(value)[:80]}')
        if key == 'target' and _is_function(value) and not _TARGET.fullmatch(value):
            raise ValueError(f'{name} in it calls {value}, which is no operator of torch')
        if key == 'expr_str' and not _is_size(value):
            raise ValueError(f'{name} in it has the size {str(value)[:80]}, which may be code')


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        yield from node.items()
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _entries(item)


def _is_function(target: Any) -> bool:
    return isinstance(target, str) and target.startswith(('torch', '_operator', 'math', '#'))


def _is_size(text: Any) -> bool:
    if not isinstance(text, str) or _ATTRIBUTE.search(text):
        return False
    return all(_IN_SIZES.fullmatch(word) for word in re.findall(r'[A-Za-z_]\w*', text))
