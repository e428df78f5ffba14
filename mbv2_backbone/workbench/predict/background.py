"""Decode files in a background thread while the network runs and predictions are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')
_END = object()


def in_background(items: Iterable[T], *, ahead: int) -> Iterator[T]:
    """Yield the items in order, while a thread of its own already makes the next ones.

    An error in the making comes where its item would have come.

    Args:
        items: Made one at a time.
        ahead: How many are made ahead at most.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, iterator, _END) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
