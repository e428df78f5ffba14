"""The folders of a dataset and their files, listed once."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from ...annotations.images import IMAGE_SUFFIXES
from .names import CROPS, MADE_SPLIT, split_folder, split_in

_DEPTH = 5  # folders below the root
_SKIPPED = (MADE_SPLIT, CROPS, '__MACOSX', 'work_dirs')
# Folders of a dataset that may hold others; any other with images and annotations in folders of
# its own is a dataset of its own.
PARTS = ('images', 'imgs', 'img', 'image', 'jpegimages', 'img_dir', 'labels', 'label', 'ann_dir')
PARTS += ('annotations', 'annotation', 'annots', 'ann', 'masks', 'mask', 'data', 'xml', 'xmls')
# SegmentationClass, masks, ann_dir, trainannot, labels, gtFine, visualizations, overlays
_DRAWN = re.compile(r'seg|mask|ann(ot|_|$)|label(s|map|_|$)|^gt|visuali|overlay', re.IGNORECASE)

Parts = tuple[str, ...]


@dataclass
class Folder:
    """The files directly in a folder; hidden ones are left out.

    Attributes:
        path: Its path.
        parts: The names of the folders from the root to it.
        images: By name without suffix.
        others: The other files, sorted.
    """

    path: Path
    parts: Parts
    images: dict[str, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)

    @property
    def split(self) -> str | None:
        """The split that the folder or the innermost one above it is named after."""
        splits = (split_folder(part) or split_in(part) for part in reversed(self.parts))
        return next(filter(None, splits), None)

    @property
    def is_of_root(self) -> bool:
        """Whether the folder belongs to the root's dataset, not to one of a folder in it."""
        own = [part.lower() for part in self.parts if not split_folder(part)]
        return len(own) <= 1 or own[0] in PARTS

    def named(self, suffix: str) -> dict[str, Path]:
        """Return the files with a suffix, in upper or lower case, by name without it."""
        return {path.stem: path for path in self.others if path.suffix.lower() == suffix}

    @property
    def is_of_masks(self) -> bool:
        """Whether its images are masks or drawings rather than photos, by its name."""
        return any(map(_DRAWN.search, self.parts))

    @cached_property
    def shapes(self) -> list[Parts]:
        """The parts, and the parts without one of them, which parallel folders share."""
        without_one = (self.parts[:i] + self.parts[i + 1 :] for i in range(len(self.parts)))
        return list(dict.fromkeys([self.parts, *without_one]))


class Tree:
    """All folders of a dataset.

    Args:
        root: The folder of the dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: list[Folder] = []
        for path, names, files in os.walk(root, followlinks=True):
            parts = Path(path).relative_to(root).parts
            names[:] = sorted(n for n in names if n[0] != '.' and n not in _SKIPPED)
            if len(parts) == _DEPTH or (parts and _leads_up(path)):
                names.clear()
            folder = Folder(Path(path), parts)
            for name in sorted(files):
                file = folder.path / name
                if name[0] != '.' and file.suffix.lower() in IMAGE_SUFFIXES:
                    folder.images[file.stem] = file
                elif name[0] != '.':
                    folder.others.append(file)
            self.folders.append(folder)

    def folder(self, *parts: str) -> Folder:
        """Return a folder by the names that lead to it; one without files if it is missing."""
        found = (folder for folder in self.folders if folder.parts == parts)
        return next(found, Folder(self.root.joinpath(*parts), parts))

    @cached_property
    def image_names(self) -> frozenset[str]:
        """The names of all images, without suffix."""
        return frozenset(stem for folder in self.folders for stem in folder.images)

    @cached_property
    def _with_images(self) -> dict[Parts, list[Folder]]:
        found = defaultdict(list)
        for folder in self.folders:
            for shape in folder.shapes if folder.images else ():
                found[shape].append(folder)
        return found

    def near(self, folder: Folder) -> list[Folder]:
        """Return the folders with images whose path differs from a folder's in one part at most.

        So `images/train` is near `labels/train`, and `train` near `train/xml`.
        """
        found = {f.path: f for shape in folder.shapes for f in self._with_images[shape]}
        return list(found.values())

    def homes(
        self, folder: Folder, stems: Collection[str], *, of_masks: bool = False
    ) -> list[Folder]:
        """Return the folders with the images of a folder's annotations.

        The first one is near it, if there is any. Others follow for images that it does not have:
        one folder of annotations may be that of `images/train` and `images/val`.

        Args:
            folder: The folder of the annotations.
            stems: The names of the annotations.
            of_masks: Whether these are masks, which are not images of themselves.
        """
        near = sorted(self.near(folder), key=partial(_nearness, folder), reverse=True)
        known = {other.path for other in near}
        far = (f for f in self.folders if f.is_of_root and f.path not in known)
        found: list[Folder] = []
        left = set(stems)
        for other in chain(near, far):
            if not left:
                break
            fits = other.split in (None, folder.split) or folder.split is None
            may_be = not other.is_of_masks and fits if found or of_masks else True
            if may_be and not left.isdisjoint(other.images):
                found.append(other)
                left -= other.images.keys()
        return found

    def pairs(self, suffix: str) -> list[tuple[Folder, Folder]]:
        """Return the folders with images, and those with a file of the same name for each.

        Args:
            suffix: Of the annotations, in lower case.
        """
        return [
            (images, folder)
            for folder in self.folders
            if folder.is_of_root
            for images in self.homes(folder, folder.named(suffix))
        ]


def _leads_up(path: str) -> bool:
    """Return whether a link leads to a folder that it is in."""
    target = os.path.realpath(path)
    above = os.path.realpath(os.path.dirname(path))
    return os.path.islink(path) and os.path.commonpath([target, above]) == target


def _nearness(annotations: Folder, images: Folder) -> tuple[bool, bool, bool, int, bool]:
    """Return how likely the images of a folder are those of the annotations of another."""
    annotated = {path.stem for path in annotations.others} | annotations.images.keys()
    return (
        images is annotations,
        not images.is_of_masks,
        images.split == annotations.split,
        len(annotated & images.images.keys()),
        annotations.path.name.startswith(images.path.name),
    )
