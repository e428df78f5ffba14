"""Expand the inputs of predict: images, folders, globs and videos."""

from __future__ import annotations

import glob
import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from os import PathLike, fspath
from pathlib import Path

from ...annotations.images import IMAGE_SUFFIXES
from ...common.messages import UserError

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm')
_SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)


@dataclass(frozen=True)
class Source:
    """One file to predict on.

    Attributes:
        path: Path of the file.
        name: Path of its results relative to the output folder, without suffix.
        is_video: Whether it is a video.
    """

    path: str
    name: str
    is_video: bool


def find_sources(inputs: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[Source]:
    """Resolve files, folders (searched recursively) and glob patterns, each file once.

    Raises:
        UserError: If an input matches no image or video.
    """
    sources: dict[str, Source] = {}
    for given in map(fspath, [inputs] if isinstance(inputs, (str, PathLike)) else inputs):
        root = Path(given)
        if root.is_dir():
            paths = sorted(p for p in root.rglob('*') if p.suffix.lower() in _SUFFIXES)
            names = [str(p.relative_to(root).with_suffix('')) for p in paths]
        else:
            matches = [given] if root.is_file() else sorted(glob.glob(given, recursive=True))
            paths = [Path(p) for p in matches if Path(p).suffix.lower() in _SUFFIXES]
            names = [p.stem for p in paths]
        if not paths:
            raise UserError(
                f'no image or video at {given}; give files, folders or globs with one of '
                f'{" ".join(_SUFFIXES)}'
            )
        for path, name in zip(paths, names, strict=True):
            is_video = path.suffix.lower() in VIDEO_SUFFIXES
            sources.setdefault(str(path), Source(str(path), name, is_video))
    return _with_unique_names(list(sources.values()))


def _with_unique_names(sources: list[Source]) -> list[Source]:
    numbers: dict[str, Iterator[int]] = {}
    taken: set[str] = set()
    unique = []
    for source in sources:
        name = source.name
        while name in taken:
            name = f'{source.name}-{next(numbers.setdefault(source.name, count(2)))}'
        taken.add(name)
        unique.append(replace(source, name=name))
    return unique


def image_ids(sources: Sequence[Source]) -> dict[str, int]:
    """Number images as COCO does: by their file names if all are numbers, else from 0."""
    stems = [osp.splitext(osp.basename(source.path))[0] for source in sources]
    if all(stem.isdecimal() for stem in stems) and len({int(s) for s in stems}) == len(stems):
        return {source.path: int(stem) for source, stem in zip(sources, stems, strict=True)}
    return {source.path: i for i, source in enumerate(sources)}
