"""Read the `key=value` overrides of `--cfg-options`, and refuse keys that are misspelt."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config, DictAction

from ...common.messages import UserError

# Below this likeness a new key is another word: a `channels` beside an `in_channels` has 0.84.
_LIKENESS = 0.86


def parse_overrides(cfg: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the overrides of a config by key.

    Args:
        cfg: The config that they are for.
        overrides: The values of `--cfg-options`.

    Raises:
        UserError: If one is no `key=value`, or its key is almost that of a setting.
    """
    wrong = [item for item in overrides if '=' not in item]
    if wrong:
        raise UserError(f'--cfg-options takes key=value, got {" ".join(wrong)}')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    parsed = parser.parse_args(['--cfg-options', *overrides]).cfg_options
    for key in parsed:
        _check_spelling(cfg, key)
    return parsed


def _check_spelling(cfg: Config, key: str) -> None:
    """Refuse a key that is almost that of a setting: as a new setting it would do nothing."""
    from mmengine.runner import Runner  # slow to import, and few runs have overrides

    node: Any = cfg._cfg_dict
    known: Iterable[str] = [*cfg, *inspect.signature(Runner).parameters]
    parts = key.split('.')
    for i, part in enumerate(parts):
        if isinstance(node, (list, tuple)):
            node = node[int(part)] if part.isdigit() and int(part) < len(node) else None
        elif isinstance(node, dict) and part not in known:
            close = get_close_matches(part, known, 1, _LIKENESS)
            if close:
                right = '.'.join([*parts[:i], close[0], *parts[i + 1 :]])
                raise UserError(f'--cfg-options {key}: no such setting; did you mean {right}?')
            return
        else:
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            return
        known = list(node) if isinstance(node, dict) else ()
