"""Read and write datasets in the Pascal VOC format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from ....annotations.boxes import as_box, begins_at_zero, read_voc
from ....common.messages import UserError
from ..records import AnnotatedImage, Annotation, Dataset, Item
from ..tree import Tree
from .by_image import Contents, Pair, pairs_with, read_by_image
from .writing import MOVED, Splits, images_of, write_classes

_LABEL_STUDIO = b'<name>Label Studio</name>'  # the owner in its files


def write_voc(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `Annotations/*.xml`, `ImageSets/Main/<split>.txt` and `classes.txt`."""
    write_voc_files(root, classes, splits)
    items = [item for image in images_of(splits) for item in image.items]
    notes = write_classes(root, classes, items)
    lost = sum(bool(item.outline) for item in items)
    if lost:
        notes.append(f'{lost} outline(s) are dropped: VOC stores only boxes')
    rounded = sum(any(abs(v - round(v)) > MOVED for v in item.box) for item in items)
    if rounded:
        notes.append(f'{rounded} box(es) are rounded to whole pixels, as VOC stores them')
    thin = sum(min(x2 - x1, y2 - y1) < 2 for x1, y1, x2, y2 in (_whole(item) for item in items))
    if thin:
        notes.append(f'{thin} box(es) are one pixel wide or high, which mmdet drops in VOC files')
    return notes


def _whole(item: Item) -> tuple[int, int, int, int]:
    return tuple(round(value) for value in item.box)


def write_voc_files(
    root: Path,
    classes: Sequence[str],
    splits: Splits,
    *,
    folder: str = '',
    is_segmented: bool = False,
) -> None:
    """Write the files of the original VOC format, with `folder` as the name of the dataset.

    Images with masks (`is_segmented`) are also listed for segmentation.
    """
    members = {split: [Path(image.name).stem for image in splits[split]] for split in splits}
    if {'train', 'val'} <= members.keys():
        members['trainval'] = members['train'] + members['val']
    for task in ('Main', 'Segmentation') if is_segmented else ('Main',):
        lists = root / 'ImageSets' / task
        lists.mkdir(parents=True)
        for split, names in members.items():
            (lists / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names), 'utf-8')
    annotations = root / 'Annotations'
    annotations.mkdir(exist_ok=True)  # may be the same folder as Annotations on some file systems
    for image in images_of(splits):
        tree = voc_tree(image, classes, folder=folder, is_segmented=is_segmented)
        tree.write(annotations / f'{Path(image.name).stem}.xml', encoding='utf-8')


def voc_tree(
    image: AnnotatedImage, classes: Sequence[str], *, folder: str = '', is_segmented: bool = False
) -> ElementTree.ElementTree:
    """Return the VOC annotation of an image; corners are whole pixels.

    They count from 1, and both corners are inside the object. mmdet's `XMLDataset` subtracts 1 from
    all four numbers, which keeps the last pixel inside, and its VOC metric counts that pixel
    (`use_legacy_coordinate`).
    """
    root = ElementTree.Element('annotation')
    if folder:
        _add(root, folder=folder)
    _add(root, filename=f'{Path(image.name).stem}.jpg')
    size = ElementTree.SubElement(root, 'size')
    _add(size, width=image.size_wh[0], height=image.size_wh[1], depth=3)
    _add(root, segmented=int(is_segmented))
    for item in image.items:
        node = ElementTree.SubElement(root, 'object')
        _add(node, name=classes[item.label], pose='Unspecified', truncated=int(item.is_truncated))
        if item.is_occluded is not None:
            _add(node, occluded=int(item.is_occluded))
        _add(node, difficult=int(item.is_ignored))
        x1, y1, x2, y2 = _whole(item)
        corners = dict(xmin=x1 + 1, ymin=y1 + 1, xmax=max(x2, x1 + 1), ymax=max(y2, y1 + 1))
        _add(ElementTree.SubElement(node, 'bndbox'), **corners)
    ElementTree.indent(root)
    return ElementTree.ElementTree(root)


def _add(parent: ElementTree.Element, **fields: object) -> None:
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = str(value)


def voc_pairs(tree: Tree) -> list[Pair]:
    """Return the folders of images and of XML files of a dataset in VOC's format."""
    pairs = pairs_with(tree, '.xml', b'<annotation')
    if not pairs and any((tree.root / 'Annotations').glob('*.xml')):  # the images are missing
        return [Pair(*(tree.folder(name) for name in ('JPEGImages', 'Annotations')))]
    return pairs


def read_voc_pairs(tree: Tree, pairs: list[Pair]) -> Dataset:
    """Read a dataset in VOC's format, and find out whether its corners count from 0 or 1."""
    return read_by_image('voc', '.xml', read_voc_file, tree, pairs, settle=_settle_first_pixel)


def _settle_first_pixel(dataset: Dataset, contents: Contents) -> None:
    """Count from 0 if an edge is at 0, or most corners are written with a decimal point.

    VOC counts from 1, in whole pixels; a few boxes of VOC 2012 have fractions. Datumaro, which CVAT
    exports with, and Label Studio count from 0.
    """
    found = [
        (path, item)
        for path, content in contents.items()
        if isinstance(content, Annotation)
        for item in content.objects
        if item.xyxy is not None
    ]
    at_zero = [path.name for path, item in found if begins_at_zero(as_box(item.stored))]
    fractions = [path.name for path, item in found if any(type(v) is float for v in item.stored)]
    if not found:
        return
    labelled = [path.name for path, _ in found[:1] if _LABEL_STUDIO in path.read_bytes()]
    if not at_zero and not labelled and len(fractions) * 2 <= len(found):
        dataset.assumed.append(
            f'corners of boxes are taken to count from 1, as in VOC: none of {len(found)} is at 0, '
            f'and {len(fractions)} have decimals'
        )
        return
    dataset.counts_from = 0
    what, files = ('begin at 0', at_zero) if at_zero else ('have decimals', fractions)
    why = f'{len(files)} {what}, as in {files[0]}' if files else 'Label Studio wrote them so'
    dataset.notes.append(f'corners of boxes count from 0, not 1 as in VOC: {why}')
    for path, content in contents.items():
        if isinstance(content, Annotation):
            objects = [
                item if item.xyxy is None else replace(item, xyxy=as_box(item.stored))
                for item in content.objects
            ]
            contents[path] = replace(content, objects=objects)


def read_voc_file(path: Path) -> Annotation:
    """Read the XML file of an image.

    Raises:
        UserError: If it is broken.
    """
    try:
        stated_wh, objects = read_voc(path.read_bytes())
    except (OSError, UserError) as error:
        raise UserError(f'{path} {error}') from error
    return Annotation(objects, stated_wh)
