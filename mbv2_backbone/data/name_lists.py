"""Lists of the names of images, as VOC has them: one a line."""

from __future__ import annotations

import re

_FLAG = re.compile(r'\s+(-1| 0| 1)$')  # VOC gives it two places


def names_in(text: str) -> list[str]:
    r"""Return the names in a list; they may have blanks.

    Where each line ends in one of VOC's flags, which tell whether a class is in the image, these
    are no part of the names.

    Example:
        >>> names_in('2007_000032 -1\n2007_000039  1\n'), names_in('IMG (1)\nphoto 1\n')
        (['2007_000032', '2007_000039'], ['IMG (1)', 'photo 1'])
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(map(_FLAG.search, lines)):
        return [_FLAG.sub('', line) for line in lines]
    return lines
