"""The common form of a dataset in any format: images by split, with boxes and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...annotations.boxes import Box, Object, box_problem, cut_box
from ...annotations.images import ImageFacts, read_image_facts
from ...common.messages import UserError

Outline = Sequence[Sequence[float]]

Size = tuple[int, int]

VOID_NAMES = ('void', 'ignore', 'ignored', 'unlabelled', 'unlabeled')


@dataclass(frozen=True)
class Annotation:
    """What the annotation of one image says.

    Attributes:
        objects: In the order of the file.
        stated_wh: Width and height of the image according to it, if it tells.
    """

    objects: Sequence[Object] = ()
    stated_wh: Size | None = None


@dataclass(frozen=True)
class Record:
    """What an image and its annotation come to.

    Attributes:
        path: Of the image.
        size_wh: Width and height as viewers show the image; zeros if it cannot be read.
        stated_wh: Width and height that the annotation states, if it does.
        boxes: Corners xyxy in pixels from 0, right and lower edge excluded, cut at the edges of
            the image; only sound boxes.
        labels: Index into the dataset's `classes` for each box.
        is_ignored: Whether each box is difficult (VOC) or a crowd (COCO).
        mask: File of the image's mask, if the dataset has masks.
        has_boxes: Whether the dataset is one of boxes, even if the image has none.
        dropped: The boxes that cannot be trained on, as they stand in the file, and why.
        problems: What is wrong with the files of the image or of its annotation.
    """

    path: Path
    size_wh: Size
    stated_wh: Size | None = None
    boxes: tuple[Box, ...] = ()
    labels: tuple[int, ...] = ()
    is_ignored: tuple[bool, ...] = ()
    mask: Path | None = None
    has_boxes: bool = False
    dropped: tuple[tuple[Any, str], ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def relative_boxes(self) -> list[Box]:
        """The boxes that count, corners xyxy in parts of the image, [0, 1]."""
        width, height = self.stated_wh or self.size_wh
        return [
            (x1 / width, y1 / height, x2 / width, y2 / height)
            for (x1, y1, x2, y2), is_ignored in zip(self.boxes, self.is_ignored, strict=True)
            if not is_ignored and width and height
        ]


@dataclass
class Labelled:
    """One image of a dataset; its files are read when they are first asked for.

    Attributes:
        path: Of the image.
        read: Takes width and height of the image; returns the annotation. Raises `UserError`.
        classes: Of the dataset.
        annotation: The file with its boxes, if there is one.
        mask: The file with its mask, if there is one.
    """

    path: Path
    read: Callable[[Size], Annotation] = lambda _: Annotation()
    classes: tuple[str, ...] = ()
    annotation: Path | None = None
    mask: Path | None = None

    @cached_property
    def facts(self) -> ImageFacts:
        """What the header of the image tells."""
        return read_image_facts(str(self.path))

    @cached_property
    def record(self) -> Record:
        """The image with its sound boxes, and what is wrong."""
        problems = [self.facts.error] if self.facts.error else []
        size_wh = self.facts.seen_wh
        try:
            annotation = self.read(size_wh)
        except UserError as error:
            annotation = Annotation()
            problems.append(str(error))
        sound, dropped = sort_objects(annotation, self.classes, size_wh)
        return Record(
            path=self.path,
            size_wh=size_wh,
            stated_wh=annotation.stated_wh,
            boxes=tuple(box for _, box in sound),
            labels=tuple(self.classes.index(item.name) for item, _ in sound),
            is_ignored=tuple(item.is_ignored for item, _ in sound),
            mask=self.mask,
            has_boxes=bool(self.classes),
            dropped=tuple(dropped),
            problems=tuple(problems),
        )


def sort_objects(
    annotation: Annotation, classes: Sequence[str], image_wh: Size
) -> tuple[list[tuple[Object, Box]], list[tuple[Any, str]]]:
    """Part the objects that can be trained on from the others.

    Args:
        annotation: Of one image.
        classes: Objects of others are none to train on.
        image_wh: Width and height of the image, where the annotation does not state them; zeros
            if they are not known.

    Returns:
        The sound objects with their boxes, cut at the edges of the image; the others as they
        stand in the file, and why.
    """
    known_wh = annotation.stated_wh or (image_wh if any(image_wh) else None)
    sound, dropped = [], []
    for item in annotation.objects:
        if item.xyxy is None:
            problem = 'not four numbers'
        elif item.name not in classes:
            problem = f'unknown class {item.name!r}'
        else:
            problem = box_problem(item.xyxy, known_wh)
        if problem is None:
            box = cut_box(item.xyxy, known_wh)
            if min(box[2] - box[0], box[3] - box[1]) >= 1:
                sound.append((item, box))
                continue
            problem = 'smaller than a pixel'
        dropped.append((item.stored, problem))
    return sound, dropped


@dataclass(frozen=True)
class Source:
    """Where the files of a split are.

    Attributes:
        images: Folder that the names of its images are relative to.
        annotations: COCO's JSON, or the text file that lists the images; `None` where the folder
            is the split.
        masks: Folder of its masks, if there is one.
    """

    images: Path
    annotations: Path | None = None
    masks: Path | None = None


@dataclass
class ImageSet:
    """A folder of images with boxes, masks or both.

    Attributes:
        root: The folder.
        layout: `coco`, `voc`, `yolo`, `labelme` or `masks`.
        classes: Names of the classes of boxes, in the order of their indices.
        mask_classes: Names of the values in masks from 0 on; empty where nothing names them.
        mask_palette: Colour of each of them, RGB, for masks that are coded in colours.
        splits: Images by the name of the split, such as `train`, `val` and `test`.
        sources: Where the files of each split are.
        is_split_by_name: Whether nothing told the splits, so that a hash of the names did.
        found: All layouts that the folder holds.
        unlabelled: Images without an annotation, which are in no split.
        problems: Of files that belong to no single image; they stop training.
        notes: What is worth knowing.
    """

    root: Path
    layout: str
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

    @property
    def images(self) -> list[Labelled]:
        """All images, each once."""
        items = (item for split in self.splits.values() for item in split)
        return list({item.path: item for item in items}.values())

    @property
    def void_classes(self) -> list[int]:
        """Indices in `mask_classes` of what is called void, or the like, and is ignored."""
        return [i for i, name in enumerate(self.mask_classes) if name.lower() in VOID_NAMES]

    @property
    def ignored_values(self) -> list[int | tuple[int, int, int]]:
        """Indices and colours in masks that are ignored."""
        colours = [self.mask_palette[i] for i in self.void_classes] if self.mask_palette else []
        return [*self.void_classes, *colours]


@dataclass(frozen=True)
class Item:
    """An object of an image.

    Attributes:
        label: Index of its class.
        box: xyxy in pixels from 0, right and lower edge excluded.
        outline: Polygons of its parts, `[x, y, x, y, …]` in pixels; may be empty.
        is_ignored: VOC's `difficult`, COCO's `iscrowd`.
        is_truncated: Whether the object extends beyond the image.
        is_occluded: Whether something hides a part of it; `None` where that is not known.
    """

    label: int
    box: Box
    outline: Outline = ()
    is_ignored: bool = False
    is_truncated: bool = False
    is_occluded: bool | None = None


@dataclass(frozen=True)
class Photo:
    """An image file and what is annotated on it.

    Attributes:
        path: Of the file.
        name: Of the file in the converted dataset.
        size_wh: Width and height that the boxes are for.
        items: Its objects.
    """

    path: Path
    name: str
    size_wh: Size
    items: Sequence[Item] = ()
