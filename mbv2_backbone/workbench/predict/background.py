"""Decode files in a background thread while the network runs and predictions are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar('S')
T = TypeVar('T')
_END = object()


def in_background(items: Iterable[T], *, ahead: int) -> Iterator[T]:
    """Yield the items in order, while a background thread already makes the next ones.

    An error in making an item is raised where the item would have been yielded.

    Args:
        items: Items that are made one at a time.
        ahead: Maximum number of items made in advance.
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


def mapped(function: Callable[[S], T], items: Iterable[S], *, threads: int) -> Iterator[T]:
    """Yield `function` of each item in order, of several items at a time.

    An error is raised where the result would have been yielded.

    Args:
        function: It may run in several threads at once.
        items: Its arguments.
        threads: Number of threads, and of results that are made in advance.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
