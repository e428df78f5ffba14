"""Format Python values as config code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...common.code_layout import lay_out


class Name(str):
    """An expression, such as the name of a variable in the config; it is written unquoted."""

    __slots__ = ()


def assign(name: str, value: Any) -> str:
    """Write an assignment; `None` as a dict key unpacks the dict that is its value.

    Example:
        >>> print(assign('neck', dict(type='SSDNeck', strides=(2, Name('last')))), end='')
        neck = dict(type='SSDNeck', strides=(2, last))
    """
    return lay_out(f'{name} = {_code(value)}')


def _code(value: Any) -> str:
    if isinstance(value, Name):
        return value
    if isinstance(value, Mapping):
        items = [f'{key}={_code(v)}' if key else f'**{_code(v)}' for key, v in value.items()]
        return f'dict({", ".join(items)})'
    if isinstance(value, (list, tuple)):
        inner = ', '.join(map(_code, value))
        is_single = isinstance(value, tuple) and len(value) == 1
        return f'[{inner}]' if isinstance(value, list) else f'({inner}{"," if is_single else ""})'
    return repr(value)
