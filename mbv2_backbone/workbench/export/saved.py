"""What the writer of an export format returns."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CHECK_PREFIX = 'check_'  # of files that are compared and not kept


@dataclass(frozen=True)
class Saved:
    """A network that was written to a file.

    Attributes:
        raw_path: A file with the raw outputs of the network: the written one itself, or one whose
            name starts with `CHECK_PREFIX`.
        model: What the same format's `save_int8` starts from.
        final_path: A file with the final outputs, where `Predictor` does not run the written one.
    """

    raw_path: str
    model: Any = None
    final_path: str | None = None


def check_path(path: str) -> str:
    """Return the path of a file beside `path` that is compared and not kept."""
    folder, name = osp.split(path)
    return osp.join(folder, CHECK_PREFIX + name)


def save_both(raw: Any, final: Any, path: str, write: Callable[[Any, str], None]) -> Saved:
    """Write a model with its final outputs, and one with its raw ones unless it is the same."""
    write(final, path)
    if raw is final:
        return Saved(path, final)
    write(raw, check_path(path))
    return Saved(check_path(path), final)
