"""Messages to the user: errors, warnings, and lists cut to their first few entries."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

MAX_NAMED = 10  # entries in a message


class UserError(ValueError):
    """An error the user can fix: it says how, and the tools print it without a traceback."""


def warn(text: str) -> None:
    """Warn through the logger of the current run."""
    from mmengine.logging import print_log  # exported files run without mmengine

    print_log(text, logger='current', level=logging.WARNING)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the error's name if it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def first_names(names: Iterable[str], limit: int = 3) -> str:
    """Join the first few names, and say how many more there are.

    Example:
        >>> first_names(['a', 'b', 'c', 'd'])
        'a, b, c and 1 more'
    """
    names = list(names)
    more = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {more} more' if more > 0 else '')


def first_lines(entries: Sequence[str], limit: int = MAX_NAMED) -> list[str]:
    """Return an indented line for each of the first few entries, and one for the others.

    Example:
        >>> first_lines(['a', 'b', 'c'], 2)
        ['  a', '  b', '  and 1 more']
    """
    more = [f'and {len(entries) - limit} more'] if len(entries) > limit else []
    return [f'  {entry}' for entry in [*entries[:limit], *more]]
