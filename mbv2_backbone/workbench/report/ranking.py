"""Keep only the best and worst images of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

NUM_SHOWN = 24
_RANK = attrgetter('rank')


@dataclass(frozen=True)
class RankedImage:
    """An image that may be drawn.

    Attributes:
        path: Path of the file.
        size_hw: Height and width that the boxes or masks belong to.
        rank: The lower, the worse the prediction.
        facts: What is written below the image.
        content: What is drawn.
    """

    path: str
    size_hw: tuple[int, int]
    rank: tuple[float, ...]
    facts: dict[str, float]
    content: Any


class Extremes:
    """The worst and the best images; no image is in both.

    Args:
        limit: How many of each are kept.
    """

    def __init__(self, limit: int = NUM_SHOWN) -> None:
        self.limit = limit
        self._worst: list[RankedImage] = []
        self._best: list[RankedImage] = []

    def add(self, rank: tuple[float, ...], make: Callable[[], RankedImage]) -> None:
        """Keep an image if it is among the worst or the best so far.

        Args:
            rank: Rank of the image.
            make: Makes the image to keep; it is called for few images only.
        """
        is_bad = len(self._worst) < self.limit or rank < self._worst[-1].rank
        is_good = len(self._best) < self.limit or rank > self._best[-1].rank
        if not is_bad and not is_good:
            return
        image = make()
        if is_bad:
            self._worst = sorted([*self._worst, image], key=_RANK)[: self.limit]
        if is_good:
            self._best = sorted([*self._best, image], key=_RANK, reverse=True)[: self.limit]

    def merge(self, others: Iterable[Extremes]) -> None:
        """Add what other processes kept."""
        for other in others:
            for image in {id(image): image for image in other._worst + other._best}.values():
                self.add(image.rank, lambda image=image: image)

    def worst_and_best(self) -> tuple[list[RankedImage], list[RankedImage]]:
        """Return the worst, the very worst first, and the best, the very best first.

        If there are few images, each is only in the half that it belongs to.
        """
        ranked = sorted({id(i): i for i in self._worst + self._best}.values(), key=_RANK)
        num_worst = min(self.limit, (len(ranked) + 1) // 2)
        num_best = min(self.limit, len(ranked) - num_worst)
        return ranked[:num_worst], ranked[len(ranked) - num_best :][::-1]
