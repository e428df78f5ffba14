"""One representation for datasets of every format: images by split, with boxes and masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...annotations.boxes import Box, Object
from ...annotations.images import ImageFacts, read_image_facts
from ...annotations.objects import sort_objects
from ...common.messages import UserError

Outline = Sequence[Sequence[float]]

Size = tuple[int, int]

SORTED = 'folders'  # the format of images that are sorted by class
VOID_NAMES = ('void', 'ignore', 'ignored', 'unlabelled', 'unlabeled')


@dataclass(frozen=True)
class Annotation:
    """The content of the annotation of one image.

    Attributes:
        objects: In the order in the file.
        stated_wh: Width and height of the image according to it, if stated.
        notes: What was assumed or left out; the same words in every file.
    """

    objects: Sequence[Object] = ()
    stated_wh: Size | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Record:
    """An image and its annotation, checked.

    Attributes:
        path: Path of the image.
        size_wh: Width and height as viewers show the image; zeros if it cannot be read.
        stated_wh: Width and height in the annotation, if stated.
        boxes: Corners xyxy in pixels from 0, right and lower edge excluded, clipped to the
            image; only valid boxes.
        labels: Index into the dataset's `classes` for each box.
        is_ignored: Whether each box is difficult (VOC) or a crowd (COCO).
        mask: File of the image's mask, if the dataset has masks.
        label: Index of the class of the whole image, if it has one.
        has_boxes: Whether the dataset has boxes, even if this image has none.
        dropped: The boxes that cannot be trained on, as in the file, and why.
        doubted: The boxes that their outlines contradict, and how.
        problems: What is wrong with the files of the image or of its annotation.
        notes: What reading the annotation assumed or left out.
    """

    path: Path
    size_wh: Size
    stated_wh: Size | None = None
    boxes: tuple[Box, ...] = ()
    labels: tuple[int, ...] = ()
    is_ignored: tuple[bool, ...] = ()
    mask: Path | None = None
    label: int | None = None
    has_boxes: bool = False
    dropped: tuple[tuple[Any, str], ...] = ()
    doubted: tuple[tuple[Any, str], ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def learned(self) -> list[tuple[Box, int]]:
        """The boxes to learn from, which are those that are not ignored, with their labels."""
        objects = zip(self.boxes, self.labels, self.is_ignored, strict=True)
        return [(box, label) for box, label, is_ignored in objects if not is_ignored]

    @property
    def is_labelled(self) -> bool:
        """Whether there is anything to learn from."""
        return bool(self.learned or self.mask or self.label is not None)

    @property
    def relative_boxes(self) -> list[Box]:
        """The boxes to learn from, corners xyxy relative to the image, [0, 1]."""
        width, height = self.stated_wh or self.size_wh
        return [
            (x1 / width, y1 / height, x2 / width, y2 / height)
            for (x1, y1, x2, y2), _ in self.learned
            if width and height
        ]


@dataclass
class Labelled:
    """One image of a dataset; its files are read on first access.

    Attributes:
        path: Path of the image.
        read: Takes width and height of the image; returns the annotation. Raises `UserError`.
        classes: Classes of the dataset.
        annotation: The file with its boxes, if there is one.
        mask: The file with its mask, if there is one.
        label: Index of the class of the whole image, where images are sorted by class.
    """

    path: Path
    read: Callable[[Size], Annotation] = lambda _: Annotation()
    classes: tuple[str, ...] = ()
    annotation: Path | None = None
    mask: Path | None = None
    label: int | None = None

    @cached_property
    def facts(self) -> ImageFacts:
        """The contents of the image's header."""
        return read_image_facts(str(self.path))

    @cached_property
    def record(self) -> Record:
        """The image with its valid boxes, and its problems."""
        problems = [self.facts.error] if self.facts.error else []
        size_wh = self.facts.seen_wh
        try:
            annotation = self.read(size_wh)
        except UserError as error:
            annotation = Annotation()
            problems.append(str(error))
        known_wh = annotation.stated_wh or (size_wh if any(size_wh) else None)
        sound, dropped, doubted = sort_objects(annotation.objects, self.classes, known_wh)
        return Record(
            path=self.path,
            size_wh=size_wh,
            stated_wh=annotation.stated_wh,
            boxes=tuple(box for _, box in sound),
            labels=tuple(self.classes.index(item.name) for item, _ in sound),
            is_ignored=tuple(item.is_ignored for item, _ in sound),
            mask=self.mask,
            label=self.label,
            has_boxes=bool(self.classes or self.annotation),
            dropped=tuple(dropped),
            doubted=tuple(doubted),
            problems=tuple(problems),
            notes=tuple(annotation.notes),
        )


@dataclass(frozen=True)
class Source:
    """Where the files of a split are.

    Attributes:
        images: Folder that the names of its images are relative to.
        annotations: COCO's JSON, or the text file that lists the images; `None` if the folder
            is the split.
        masks: Folder of its masks, if there is one.
    """

    images: Path
    annotations: Path | None = None
    masks: Path | None = None


@dataclass
class Dataset:
    """A dataset: a folder of images with boxes, masks or both.

    Attributes:
        root: The folder.
        format: `coco`, `voc`, `yolo`, `labelme`, `masks` or, sorted by class, `folders`.
        classes: Names of the classes of boxes or of whole images, in the order of their indices.
        mask_classes: Names of the mask values from 0 on; empty if they have no names.
        mask_palette: Colour of each of them, RGB, for masks that are stored as colours.
        splits: Images by the name of the split, such as `train`, `val` and `test`.
        sources: Where the files of each split are.
        is_split_by_name: Whether the splits come from a hash of the names, for lack of others.
        found: All formats found in the folder.
        unlabelled: Images without an annotation, which are in no split.
        problems: Of files that do not belong to a single image; they stop training.
        notes: What is worth knowing.
        counts_from: The number of the first pixel in VOC's files.
        assumed: What the files do not tell.
        foreign: Why no dataset class of the toolboxes reads the files as they are, after the name
            of the folder; empty if one may.
    """

    root: Path
    format: str
    classes: tuple[str, ...] = ()
    mask_classes: tuple[str, ...] = ()
    mask_palette: tuple[tuple[int, int, int], ...] = ()
    splits: dict[str, list[Labelled]] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    is_split_by_name: bool = False
    found: tuple[str, ...] = ()
    unlabelled: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts_from: int = 1
    assumed: list[str] = field(default_factory=list)
    foreign: str = ''

    @property
    def images(self) -> list[Labelled]:
        """All images, each once."""
        items = (item for split in self.splits.values() for item in split)
        return list({item.path: item for item in items}.values())

    @property
    def void_classes(self) -> list[int]:
        """Indices in `mask_classes` of void and similar classes, which are ignored."""
        return [i for i, name in enumerate(self.mask_classes) if name.lower() in VOID_NAMES]

    @property
    def ignored_values(self) -> list[int | tuple[int, int, int]]:
        """Indices and colours in masks that are ignored."""
        colours = [self.mask_palette[i] for i in self.void_classes] if self.mask_palette else []
        return [*self.void_classes, *colours]

    @property
    def value_names(self) -> dict[int | tuple[int, ...], str]:
        """The class of each value in masks, an index or a colour, that is not ignored."""
        names = {i: n for i, n in enumerate(self.mask_classes) if i not in self.void_classes}
        colours = {i: tuple(colour) for i, colour in enumerate(self.mask_palette)}
        return names | {colours[i]: name for i, name in names.items() if i in colours}

    @property
    def held_out(self) -> tuple[str, str]:
        """The splits to validate and to test on, which may be the same.

        Raises:
            UserError: If neither `val` nor `test` has a labelled image.
        """
        there = [
            split
            for split in ('val', 'test')
            if any(item.record.is_labelled for item in self.splits.get(split, ()))
        ]
        if not there:
            raise UserError(f'{self.root} has no labelled images for validation or testing')
        return there[0], there[-1]

    def below(self, path: Path, *, is_folder: bool = False) -> str:
        """Return a path relative to `data_root`, as written in a config."""
        relative = os.path.relpath(path, self.root).replace('\\', '/')
        if relative == '.':
            return ''
        return f'{relative}/' if is_folder else relative

    def note_unlisted(self, names: Iterable[str], listed: Iterable[str]) -> None:
        """Add a note on annotated images that are not in any split list."""
        others = sorted(set(names).difference(listed))
        if others:
            self.notes.append(
                f'{len(others)} annotated image(s) are not in any split list, e.g. {others[0]}'
            )


@dataclass(frozen=True)
class Item:
    """An object in an image.

    Attributes:
        label: Index of its class.
        box: xyxy in pixels from 0, right and lower edge excluded.
        outline: Polygons of its parts, `[x, y, x, y, …]` in pixels; may be empty.
        is_ignored: VOC's `difficult`, COCO's `iscrowd`.
        is_truncated: Whether the object extends beyond the image.
        is_occluded: Whether something hides a part of it; `None` if unknown.
    """

    label: int
    box: Box
    outline: Outline = ()
    is_ignored: bool = False
    is_truncated: bool = False
    is_occluded: bool | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file and its annotated objects.

    Attributes:
        path: Path of the file.
        name: Name of the file in the converted dataset.
        size_wh: Width and height that the boxes refer to.
        items: Its objects.
    """

    path: Path
    name: str
    size_wh: Size
    items: Sequence[Item] = ()
