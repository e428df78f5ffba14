"""What the numbers in the rows of YOLO's label files mean: boxes, outlines or poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ....common.messages import UserError, warn
from ..names import read_text

_OUTLINE = 0  # the other readings are numbers per key point: x, y or x, y, visibility
_MAX_PROBED = 2000  # label files read to tell outlines from poses
_LEAST_SHARE = 0.9  # of the rows that a reading must explain
_LEAST_ROWS = 3  # from which on visibilities, or boxes beyond the image, cannot be chance
_ROUNDING = 0.01  # of the image
_BEYOND = 0.1  # of the image, that its outlines and boxes may extend beyond it
_AROUND = 1.2  # how many times its box the key points of an object may span


@dataclass
class YoloRows:
    """Tells what the rows of a dataset mean; nothing is read before a row asks for it.

    Attributes:
        labels: The label files of the dataset; those that do not exist are skipped.
        source: The YAML file, for messages.
        kpt_shape: As text in it: how many key points, and numbers for each; `None` without poses.
        is_outlined: Whether it says that rows are outlines, `task: segment`.
    """

    labels: Sequence[Path]
    source: str = 'data.yaml'
    kpt_shape: Any = None
    is_outlined: bool = False

    def read(self, path: Path) -> list[list[str]]:
        """Return the words of each row of a file, the key points of poses left out.

        Raises:
            UserError: If a row cannot be told, with its line.
        """
        rows = _rows(path)
        _refuse_corners(path, [_numbers(words) for words in rows.values()])
        return [self._without_points(path, line, words) for line, words in rows.items()]

    def _without_points(self, path: Path, line: int, words: list[str]) -> list[str]:
        values = _numbers(words)
        if len(values) < 6:
            return words
        row = f'{path}, line {line}: {len(values)} numbers after the class'
        if self.kpt_shape is not None:
            if len(values) != 4 + self._stated[0] * self._stated[1]:
                raise UserError(
                    f'{row}, but `kpt_shape: {[*self._stated]}` in {self.source} makes them '
                    f'{4 + self._stated[0] * self._stated[1]}; correct either'
                )
            return words[:5]
        if self._readings == {_OUTLINE}:
            if _fits(values, _OUTLINE):
                return words
            raise UserError(
                f'{row} are neither a box (4) nor an outline (pairs x, y relative to the image); '
                f'for poses put `kpt_shape: [number, 2 or 3]` into {self.source}'
            )
        if _OUTLINE in self._readings:
            raise UserError(
                f'{row} can be an outline or a box with key points; put `kpt_shape: '
                f'[{(len(values) - 4) // 2}, 2]` into {self.source} for poses, or `task: segment` '
                f'for outlines'
            )
        if not any(_fits(values, size) for size in self._readings):
            raise UserError(f'{row} are not a box with key points, as the other rows have them')
        return words[:5]

    @cached_property
    def _stated(self) -> tuple[int, int]:
        shape = self.kpt_shape if isinstance(self.kpt_shape, list) else []
        numbers = [int(n) for n in shape if isinstance(n, str) and n.isdecimal()]
        if not len(shape) == len(numbers) == 2 or numbers[0] < 1 or numbers[1] not in (2, 3):
            raise UserError(
                f'{self.source}: kpt_shape is {self.kpt_shape!r}; expected [number, 2 or 3]'
            )
        return numbers[0], numbers[1]

    @cached_property
    def _readings(self) -> set[int]:
        """What the rows of the whole dataset can mean."""
        if self.is_outlined:
            return {_OUTLINE}
        count = total = 0
        fits = {_OUTLINE: 0, 2: 0, 3: 0}
        for path in self.labels[:_MAX_PROBED]:
            for words in _rows(path).values() if path.is_file() else ():
                values = _numbers(words)
                if len(values) < 6:
                    continue
                count = count or len(values)
                if len(values) != count:  # poses have the same number of points throughout
                    return {_OUTLINE}
                total += 1
                for size in fits:
                    fits[size] += _fits(values, size)
        found = {size for size in fits if fits[size] >= _LEAST_SHARE * total}
        if fits[3] == total >= _LEAST_ROWS or (_OUTLINE not in found and found):
            warn(
                f'{self.labels[0].parent}: rows of {count} numbers after the class are read as '
                f'boxes with key points, which are left out; `kpt_shape` in {self.source} says so'
            )
            return found - {_OUTLINE}
        return found or {_OUTLINE}


def _rows(path: Path) -> dict[int, list[str]]:
    """Return the words of each row by its line, from 1."""
    lines = enumerate(map(_words, read_text(path).splitlines()), start=1)
    return {number: words for number, words in lines if words}


def _words(line: str) -> list[str]:
    """Split a row at spaces, commas or semicolons; a comma may be the decimal point instead."""
    line = line.replace(';', ' ')
    if ',' not in line:
        return line.split()
    is_decimal = '.' not in line and len(line.split()) >= 5
    return line.replace(',', '.' if is_decimal else ' ').split()


def _numbers(words: Sequence[str]) -> list[float]:
    """Return the numbers after the class; none if one is not a number."""
    try:
        return [float(word) for word in words[1:]]
    except ValueError:
        return []


def _refuse_corners(path: Path, rows: Sequence[Sequence[float]]) -> None:
    """Refuse boxes that fit into their image as x1, y1, x2, y2, but do not as x, y, w, h."""
    boxes = [row for row in rows if len(row) == 4]
    beyond = sum(
        max(x + w / 2, y + h / 2, 1 - x + w / 2, 1 - y + h / 2) > 1 + _ROUNDING
        for x, y, w, h in boxes
    )
    if beyond >= _LEAST_ROWS and all(
        x < w <= 1 + _ROUNDING and y < h <= 1 + _ROUNDING for x, y, w, h in boxes
    ):
        raise UserError(
            f'{path}: {beyond} of {len(boxes)} boxes end outside the image, but none would as '
            f'x1 y1 x2 y2; write each as the centre x y, width and height'
        )


def _fits(values: Sequence[float], size: int) -> bool:
    """Tell whether numbers can be an outline, or a box with points of so many numbers around it."""
    if size == _OUTLINE:
        return len(values) % 2 == 0 and all(-_BEYOND <= value <= 1 + _BEYOND for value in values)
    (x, y, w, h), points = values[:4], values[4:]
    if len(points) % size or (size == 3 and not {*points[2::3]} <= {0, 1, 2}):
        return False
    return (
        min(w, h) > 0
        and min(x - w / 2, y - h / 2) >= -_BEYOND
        and max(x + w / 2, y + h / 2) <= 1 + _BEYOND
        and all(
            2 * abs(px - x) <= _AROUND * w and 2 * abs(py - y) <= _AROUND * h
            for px, py in zip(points[::size], points[1::size], strict=True)
            if px or py  # (0, 0) is a point that is not labelled
        )
    )
