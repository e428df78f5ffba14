"""Load untrusted JSON and YAML configs as data, without running code."""

from __future__ import annotations

import json
import os.path as osp
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ...common.messages import UserError

PACKAGES = ('mbv2_backbone', 'mmcv', 'mmdet', 'mmengine', 'mmseg')
# mmengine imports and calls anything else with a dot, such as subprocess.Popen.
_TYPE = re.compile(rf'(({"|".join(PACKAGES)})\.)?[A-Z]\w*|\w+')


def is_data(path: str) -> bool:
    """Return whether a config is JSON or YAML, which should contain no code."""
    return path.endswith(('.json', '.yaml', '.yml'))


def check_is_data(path: str) -> None:
    """Refuse a JSON or YAML config whose bases, types or imports would run code.

    Raises:
        UserError: If an entry would run code; the message names it.
    """
    config = _read(path)
    _check(path, config)
    bases = config.get('_base_', []) if isinstance(config, dict) else []
    for base in [bases] if isinstance(bases, str) else bases:
        if '::' in base:  # a config of an installed toolbox
            if '::/' in base or '..' in base.replace('\\', '/').split('/'):
                raise UserError(
                    f'{path} has the base {base}, which is outside the package; name a config in it'
                )
            continue
        if not is_data(base):
            raise UserError(f'{path} has the base {base}, a Python file; base it on JSON or YAML')
        check_is_data(osp.join(osp.dirname(path), base))


def _read(path: str) -> Any:
    # mmengine's own YAML reader creates any Python object that a tag names.
    text = Path(path).read_text(encoding='utf-8')
    if '{{' in text:
        raise UserError(
            f'{path} is refused: it has {{{{…}}}}, which mmengine replaces before it reads the '
            f'file; write the value itself, or use a .py config'
        )
    if path.endswith('.json'):
        return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            f'{path} is refused: {error}. A YAML config may hold plain values only, no Python '
            f'tags; write lists instead of tuples'
        ) from error


def _check(path: str, node: Any) -> None:
    if isinstance(node, dict):
        kind = node.get('type')
        if isinstance(kind, str) and not _TYPE.fullmatch(kind):
            raise UserError(
                f'{path} has type={kind!r}; a JSON or YAML config may only name registered types, '
                f'such as mmdet.SSDNeck'
            )
        for name in _imports(node):
            if name.split('.')[0] not in PACKAGES:
                raise UserError(
                    f'{path} imports {name!r}; a JSON or YAML config may import only from '
                    f'{", ".join(PACKAGES)}. If you trust it, write it as a .py config'
                )
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            _check(path, item)


def _imports(node: dict) -> Sequence[str]:
    imports = node.get('custom_imports')
    names = imports.get('imports', []) if isinstance(imports, dict) else []
    return [names] if isinstance(names, str) else names
