"""Scan many files once and cache the findings for the next run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
    to_json: Callable[[Facts], Any],
    from_json: Callable[[Any], Facts],
    what: str,
    unit: str,
) -> list[Facts]:
    """Read files, or take what an earlier scan found out about those that have not changed.

    Args:
        groups: Paths that belong together, such as a mask and its image; the first one names them.
        read: Takes the paths of a group.
        cache: JSON file for what is found out; made with its folder.
        to_json: Turns what was read into what JSON can hold.
        from_json: Turns it back.
        what: Names the progress bar.
        unit: What a group is, behind the rate.

    Returns:
        What was read of each group.
    """
    known = _read_cache(cache, from_json)
    stamps = {group: [_stamp(path) for path in group] for group in groups}
    todo = [g for g in stamps if None in stamps[g] or known.get(g[0], [None])[0] != stamps[g]]
    if todo:
        # Reading waits for disks and networks, decoding leaves Python's lock.
        pool = ThreadPoolExecutor(max(4, os.cpu_count() or 1))
        try:
            results = pool.map(lambda group: read(*group), todo)
            results = track(results, what, total=len(todo), unit=unit)
            known |= {
                group[0]: [stamps[group], facts] for group, facts in zip(todo, results, strict=True)
            }
        finally:
            pool.shutdown(cancel_futures=True)
        stored = {name: [stamp, to_json(facts)] for name, (stamp, facts) in known.items()}
        with suppress(OSError):  # on a full disk the next run reads the files again
            write_atomically(json.dumps(stored, separators=(',', ':')).encode(), cache)
    return [known[group[0]][1] for group in groups]


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


def _read_cache(path: Path, from_json: Callable[[Any], Any]) -> dict[str, list]:
    try:
        stored = json.loads(path.read_text(encoding='utf-8'))
        return {name: [stamp, from_json(facts)] for name, (stamp, facts) in stored.items()}
    except (OSError, ValueError, TypeError, KeyError):  # absent, cut off or of another version
        return {}
