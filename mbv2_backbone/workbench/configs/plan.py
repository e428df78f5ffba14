"""Plan a run as named steps that change a config and are applied in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from mmengine.config import Config

P = ParamSpec('P')
Explain = Callable[[str], Any]


@dataclass(frozen=True)
class Step:
    """One change that our tools make to a config before something is built from it.

    Attributes:
        name: A short name.
        reason: One sentence that says what the step is for.
        change: Returns the changed config; its argument is not modified.
    """

    name: str
    reason: str
    change: Callable[[Config], Config]


def step(
    name: str, reason: str
) -> Callable[[Callable[Concatenate[Config, P], None]], Callable[P, Step]]:
    """Decorate a function that changes a config in place, so that it returns a `Step` instead.

    The decorated function takes the arguments after the config; the step changes a copy.

    Example:
        >>> @step('workers', 'Loading uses the number of workers that was asked for.')
        ... def use_workers(cfg, number):
        ...     cfg.num_workers = number
        >>> use_workers(4).change(Config(dict(num_workers=2))).num_workers
        4
    """

    def decorate(function: Callable[Concatenate[Config, P], None]) -> Callable[P, Step]:
        @wraps(function)
        def make(*args: P.args, **kwargs: P.kwargs) -> Step:
            def change(cfg: Config) -> Config:
                cfg = deepcopy(cfg)
                function(cfg, *args, **kwargs)
                return cfg

            return Step(name, reason, change)

        return make

    return decorate


def apply_steps(cfg: Config, steps: Sequence[Step], explain: Explain | None = None) -> Config:
    """Apply steps in order.

    Args:
        cfg: The config; it is not modified.
        steps: The steps.
        explain: Called with a text for each step: its name, its reason and what it changed.

    Returns:
        The planned config.
    """
    for planned in steps:
        changed = planned.change(cfg)
        if explain is not None:
            lines = list(differences(cfg, changed)) or ['changes nothing']
            text = [f'{planned.name}: {planned.reason}', *(f'  {line}' for line in lines)]
            explain('\n'.join(text))
        cfg = changed
    return cfg


def differences(before: Config, after: Config) -> Iterator[str]:
    """Yield a line for each value that differs: `+` is new, `-` is removed, `~` is changed.

    Example:
        >>> list(differences(Config(dict(a=1, b=[1])), Config(dict(b=[1, 2], a=3))))
        ['~ a: 1 -> 3', '+ b.1 = 2']
        >>> hooks = [dict(type='A', n=1), dict(type='B')]
        >>> list(differences(Config(dict(h=hooks)), Config(dict(h=hooks[1:]))))
        ["- h.A.type = 'A'", '- h.A.n = 1']
    """
    old, new = dict(_leaves(before._cfg_dict)), dict(_leaves(after._cfg_dict))
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in new:
            yield f'- {key} = {old[key]!r}'
        elif key not in old:
            yield f'+ {key} = {new[key]!r}'
        elif type(old[key]) is not type(new[key]) or old[key] != new[key]:
            yield f'~ {key}: {old[key]!r} -> {new[key]!r}'


def _leaves(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything that contains no further values."""
    items: Sequence[tuple] = ()
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, (list, tuple)):
        items = list(zip(_keys(node), node, strict=True))
    if not items and prefix:
        yield prefix, node
    for key, value in items:
        yield from _leaves(value, f'{prefix}.{key}' if prefix else str(key))


def _keys(items: Sequence[Any]) -> Iterator[str]:
    """Yield a key for each item: its type, so that an item keeps its key if others come or go."""
    seen: Counter[str] = Counter()
    for index, item in enumerate(items):
        kind = item.get('type') if isinstance(item, dict) else None
        if not isinstance(kind, str):
            yield str(index)
            continue
        seen[kind] += 1
        yield kind if seen[kind] == 1 else f'{kind}({seen[kind]})'
