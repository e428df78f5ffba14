"""Scan many files once and cache the findings for the next run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ...common.files import write_atomically
from ...common.progress import track

Facts = TypeVar('Facts')


def scan_files(
    groups: Sequence[tuple[str, ...]],
    read: Callable[..., Facts],
    cache: Path,
    *,
    kind: type[Facts],
    what: str,
    unit: str,
) -> list[Facts]:
    """Read files, or use the cached results of those that have not changed.

    Args:
        groups: Paths that belong together, such as a mask and its image; the first one is the key.
        read: Called with the paths of a group.
        cache: JSON file that caches the results; created with its folder.
        kind: What `read` returns, a dataclass of numbers, texts and tuples.
        what: Title of the progress bar.
        unit: Unit of the progress bar, such as `images`.

    Returns:
        The result of `read` for each group.
    """
    known = _read_cache(cache, kind)
    stamps = {group: [_stamp(path) for path in group] for group in groups}
    todo = [g for g in stamps if None in stamps[g] or known.get(g[0], [None])[0] != stamps[g]]
    if todo:
        # Reading waits for disks and networks; decoding releases the GIL.
        pool = ThreadPoolExecutor(max(4, os.cpu_count() or 1))
        try:
            results = pool.map(lambda group: read(*group), todo)
            results = track(results, what, total=len(todo), unit=unit)
            known |= {
                group[0]: [stamps[group], facts] for group, facts in zip(todo, results, strict=True)
            }
        finally:
            pool.shutdown(cancel_futures=True)
        stored = {name: [stamp, asdict(facts)] for name, (stamp, facts) in known.items()}
        with suppress(OSError):  # on a full disk the next run reads the files again
            write_atomically(json.dumps(stored, separators=(',', ':')).encode(), cache)
    return [known[group[0]][1] for group in groups]


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


def _read_cache(path: Path, kind: type) -> dict[str, list]:
    try:
        stored = json.loads(path.read_text(encoding='utf-8'))
        return {
            name: [stamp, kind(**{key: _as_tuple(value) for key, value in facts.items()})]
            for name, (stamp, facts) in stored.items()
        }
    except (OSError, ValueError, TypeError, KeyError):  # missing, truncated or of another version
        return {}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
