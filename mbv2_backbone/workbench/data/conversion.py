"""Convert a whole dataset: read it, link the images and write the annotations."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...annotations.objects import AS_OBJECTS, ignored_problem
from ...common.files import folder_replaced_whole, is_free
from ...common.messages import UserError
from ...common.progress import track
from .annotated_images import Findings, collect, load_image
from .find import find_dataset
from .formats.coco import write_coco
from .formats.folders import JPEG_QUALITY, write_folders, write_jpeg
from .formats.labelme import write_labelme
from .formats.voc import write_voc
from .formats.writing import Splits
from .formats.yolo import write_yolo
from .records import SORTED, AnnotatedImage

WRITERS: dict[str, Callable[[Path, Sequence[str], Splits], list[str]]] = {
    'coco': write_coco,
    'voc': write_voc,
    'yolo': write_yolo,
    'labelme': write_labelme,
}

_FOLDERS = {
    'coco': 'images/{split}',
    'voc': 'JPEGImages',
    'yolo': 'images/{split}',
    'labelme': '{split}',
}
_WITHOUT_IGNORED = {'yolo': 'YOLO', SORTED: 'Folders of classes'}
_JPEG_SUFFIXES = ('.jpg', '.jpeg')


@dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
        root: The new folder.
        source_format: The format that the input was read as.
        counts: Images, images without an object, objects that are ignored, and objects to learn
            from, by split.
        problems: What is wrong with the input.
        notes: What the new format cannot hold.
    """

    root: Path
    source_format: str
    counts: dict[str, tuple[int, int, int, int]]
    problems: Sequence[str]
    notes: Sequence[str]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str,
    source_format: str | None = None,
    ignored_as_objects: bool = False,
    copy: bool = False,
    force: bool = False,
) -> Converted:
    """Write a dataset in another format into a new folder; the input is not changed.

    Boxes are rounded to a millionth of a pixel, for VOC to whole pixels. Images are hard links to
    the input's where the file system allows it.

    Args:
        source: Folder of the dataset.
        target: Folder to create; once it exists, it is complete.
        to: `coco`, `voc`, `yolo` or `labelme`; `folders` cuts the objects out, by class.
        source_format: Format of the input; by default it is recognised.
        ignored_as_objects: Make crowds and difficult objects like others.
        copy: Copy the images instead of linking them.
        force: Replace what is at `target`.

    Raises:
        UserError: If there is no dataset, the target exists or is inside the input, nothing
            can be read, or all objects are ignored and the new format cannot hold such.
    """
    source, target = Path(source), Path(target).resolve()
    origin = source.resolve()
    if target == origin or origin in target.parents or target in origin.parents:
        raise UserError(f'{target} and the input {origin} must not contain each other')
    if not is_free(target) and not force:
        raise UserError(f'{target} exists; choose another folder, or replace it with --force')
    dataset = find_dataset(source, format_name=source_format, keep_splits=True)
    if not dataset.classes:
        raise UserError(
            f'{source} is a dataset in the format {dataset.format!r} without boxes; masks of '
            f'whole images cannot be turned into objects'
        )
    findings = Findings([*dataset.problems], [*dataset.notes, *dataset.assumed])
    splits = collect(dataset, findings, one_folder=to == 'voc')
    if not any(splits.values()):
        raise UserError('\n'.join([f'no image of {source} can be read:', *findings.problems[:20]]))
    if ignored_as_objects:
        splits = {split: [_without_flags(image) for image in splits[split]] for split in splits}
    counts = {split: _count(images) for split, images in splits.items()}
    _judge_learned(counts, findings, cannot_hold=_WITHOUT_IGNORED.get(to))
    with folder_replaced_whole(target) as root:
        if to == SORTED:
            findings.notes += write_folders(root, dataset.classes, splits)
        else:
            findings.notes += WRITERS[to](root, dataset.classes, splits)
            findings.notes += _place_images(root, splits, to, copy=copy)
    return Converted(
        root=target,
        source_format=dataset.format,
        counts=counts,
        problems=findings.problems,
        notes=findings.notes,
    )


def _without_flags(image: AnnotatedImage) -> AnnotatedImage:
    return replace(image, items=[replace(item, is_ignored=False) for item in image.items])


def _count(images: Sequence[AnnotatedImage]) -> tuple[int, int, int, int]:
    learned = [sum(not item.is_ignored for item in image.items) for image in images]
    ignored = sum(len(image.items) for image in images) - sum(learned)
    return len(learned), learned.count(0), ignored, sum(learned)


def _judge_learned(
    counts: dict[str, tuple[int, int, int, int]], findings: Findings, *, cannot_hold: str | None
) -> None:
    for split, (*_, num_ignored, num_learned) in counts.items():
        problem = ignored_problem(num_learned, num_ignored)
        if problem:
            text = f'{split}: {problem}; {AS_OBJECTS}'
            if cannot_hold and not num_learned:
                raise UserError(f'{text}. {cannot_hold} cannot hold ignored objects')
            findings.notes.append(text)


def _place_images(
    root: Path, splits: dict[str, list[AnnotatedImage]], format_name: str, *, copy: bool
) -> list[str]:
    """Link or copy the images into the new dataset; VOC's readers require JPEG."""
    num_encoded = 0
    for split in splits:
        (root / _FOLDERS[format_name].format(split=split)).mkdir(parents=True, exist_ok=True)
    jobs = [(split, image) for split, images in splits.items() for image in images]
    for split, image in track(jobs, 'Placing images', unit='images'):
        path = root / _FOLDERS[format_name].format(split=split) / image.name
        is_jpeg = path.suffix.lower() in _JPEG_SUFFIXES
        if format_name == 'voc':
            path = path.with_suffix('.jpg')
        if format_name != 'voc' or is_jpeg:
            _place(image.path, path, copy=copy)
        else:
            write_jpeg(path, load_image(image))
            num_encoded += 1
    if not num_encoded:
        return []
    return [
        f'{num_encoded} image(s) were encoded as JPEG of quality {JPEG_QUALITY}, as VOC requires'
    ]


def _place(source: Path, path: Path, *, copy: bool) -> None:
    source = source.resolve()  # a relative link would point elsewhere
    if not copy:
        try:
            os.link(source, path)
        except OSError:  # another disk, or a file system without hard links
            pass
        else:
            return
    shutil.copy2(source, path)
