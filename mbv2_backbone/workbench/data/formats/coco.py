"""Read and write datasets in the COCO format."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from mmap import ACCESS_READ, mmap
from operator import itemgetter
from pathlib import Path, PureWindowsPath

from ....annotations.boxes import check_coco, images_listed_twice
from ....annotations.completion import MISREAD, complete_coco
from ....annotations.objects import coco_object, refuse_corners
from ....common.messages import UserError, first_names
from ..names import byte_order_problems, images_in, read_json, split_in
from ..outlines import area_of
from ..records import Annotation, Dataset, Item, Labelled, Size, Source
from ..tree import Tree
from .writing import DIGITS, Splits, rounded, write_json

_MAX_PROBED = 50  # images looked up to find the image folder of a COCO file
_NO_BOXES = re.compile('captions|panoptic|stuff|keypoints|image_info|labels')
# How a file names its images: as they are; on Windows, by Label Studio; in folders of elsewhere.
_NAMES: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: name.replace('\\', '/'),
    lambda name: PureWindowsPath(name).name,
)


def write_coco(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `annotations/<split>.json`; file names are relative to `images/<split>`."""
    categories = [{'id': i, 'name': name} for i, name in enumerate(classes, start=1)]
    folder = root / 'annotations'
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        ids = count(1)
        entries, annotations = [], []
        for image_id, image in enumerate(images, start=1):
            width, height = image.size_wh
            entries.append(
                {'id': image_id, 'file_name': image.name, 'width': width, 'height': height}
            )
            annotations += [
                {'id': next(ids), 'image_id': image_id, **_coco_fields(item)}
                for item in image.items
            ]
        document = {'images': entries, 'annotations': annotations, 'categories': categories}
        write_json(folder / f'{split}.json', document)
    return []


def _coco_fields(item: Item) -> dict:
    x1, y1, x2, y2 = item.box
    sides = x2 - x1, y2 - y1
    return {
        'category_id': item.label + 1,
        'bbox': rounded((x1, y1, *sides)),
        'area': round(area_of(item.outline) or sides[0] * sides[1], DIGITS),
        'iscrowd': int(item.is_ignored),
        'segmentation': [rounded(part) for part in item.outline],
    }


def coco_files(tree: Tree) -> list[Path]:
    """Return COCO's annotation files: those in `annotations`, else those anywhere.

    A JSON file with the name of an image is not one: LabelMe's and Supervisely's are named so.
    """
    for folders in ([tree.folder('annotations')], tree.folders):
        paths = [path for folder in folders for path in folder.named('.json').values()]
        files = [path for path in paths if not _is_of_an_image(path, tree) and _lists_images(path)]
        boxes = [path for path in files if 'instances' in path.stem]
        if files:  # beside `instances`, COCO has captions and the like
            return [path for path in files if not (boxes and _NO_BOXES.search(path.stem))]
    return []


def _is_of_an_image(path: Path, tree: Tree) -> bool:
    return bool(tree.image_names.intersection((path.stem, Path(path.stem).stem)))


def _lists_images(path: Path) -> bool:
    """Search a file for COCO's key, without reading a large one whole."""
    with path.open('rb') as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(b'"images"') >= 0


def read_coco(tree: Tree, files: Sequence[Path]) -> Dataset:
    """Read a dataset in COCO's format: one JSON file per split, or one for all images.

    Raises:
        UserError: If a file is not valid, or files of several folders have other categories.
    """
    dataset = Dataset(tree.root, 'coco', problems=byte_order_problems(files))
    split_of = _split_names(tree.root, files)
    for path in files:
        data = read_json(path)
        try:
            check_coco(data)
            refuse_corners(data)
        except UserError as error:
            raise UserError(f'{path} {error}') from error
        dataset.notes += [f'{path}: {remark}; {MISREAD}' for remark in complete_coco(data)]
        names = tuple(category['name'] for category in data['categories'])
        dataset.classes = dataset.classes or names
        if names != dataset.classes:
            dataset.problems.append(
                f'{path} has the categories {names}, but others have {dataset.classes}; all '
                f'files must have the same in the same order'
            )
        split = split_of[path]
        _merge_doubles(data, path, dataset)
        folder, clean = _image_folder(tree, path, split, data['images'])
        if clean is not _NAMES[0]:
            dataset.foreign = f'names images otherwise than their files in {path}'
            data['images'] = [i | {'file_name': clean(i['file_name'])} for i in data['images']]
        dataset.sources[split] = Source(folder, path)
        dataset.splits[split] = _coco_items(data, folder, path, dataset)
    if len(files) > 1 and not any(map(split_in, dataset.splits)):
        dataset.foreign = 'has several COCO files, none of which is named after a split'
    listed = {item.path for item in dataset.images}
    for folder in {source.images for source in dataset.sources.values()}:
        dataset.unlabelled += [p for p in images_in(folder).values() if p not in listed]
    return dataset


def _split_names(root: Path, files: Sequence[Path]) -> dict[Path, str]:
    """Return the split of each file; of several for one split, the shortest name has it."""
    splits: dict[Path, str] = {}
    for path in sorted(files, key=lambda path: len(path.stem)):
        split = _split_of(path, root)
        if split in splits.values():
            split = '_'.join(path.relative_to(root).with_suffix('').parts)
        splits[path] = split
    return splits


def _merge_doubles(data: dict, path: Path, dataset: Dataset) -> None:
    """Give each image one entry, in place, which has the objects of all, each of them once."""
    doubles = images_listed_twice(data['images'])
    if not doubles:
        return
    dataset.problems.append(
        f'{path} lists {len(doubles)} image(s) several times, as Label Studio does for each '
        f'annotator: {first_names(doubles)}. Training would take them for different images; '
        f'`tools/data.py convert {dataset.root} OUT --to coco` writes each once, with the objects '
        f'of all its entries'
    )
    first = {other: ids[0] for ids in doubles.values() for other in ids}
    data['images'] = [i for i in data['images'] if first.get(i['id'], i['id']) == i['id']]
    once = {}
    for item in data.get('annotations', []):
        image = item['image_id'] = first.get(item['image_id'], item['image_id'])
        content = [item.get(key) for key in ('category_id', 'bbox', 'segmentation')]
        once.setdefault(repr((image, content if image in first else item['id'])), item)
    data['annotations'] = list(once.values())


def _split_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix('').parts
    return next(filter(None, map(split_in, reversed(parts))), path.stem)


def _image_folder(
    tree: Tree, path: Path, split: str, images: Sequence[dict]
) -> tuple[Path, Callable[[str], str]]:
    """Return the folder with most of the images of a COCO file, and what makes their names."""
    folders = {path.parent: None, tree.root: None}
    for folder in tree.folders:
        if folder.images:
            parents = [p for p in folder.path.parents if tree.root in p.parents]
            folders |= dict.fromkeys([folder.path, *parents])

    # If several folders have images of the same names, the one named after the split comes
    # first, then the one nearest to the file.
    def rank(folder: Path) -> tuple[bool, int]:
        return split_in(folder.name) != split, -len(os.path.commonpath([folder, path]))

    ranked = sorted(folders, key=rank)
    names = [image['file_name'] for image in images[:_MAX_PROBED]]
    counts = (
        (sum((folder / clean(name)).is_file() for name in names), folder, clean)
        for clean in _NAMES
        for folder in ranked
    )
    best = 0, ranked[0], _NAMES[0]
    for found in counts:
        best = max(best, found, key=itemgetter(0))
        if best[0] == len(names):
            break
    return best[1:]


def _coco_items(data: dict, folder: Path, path: Path, dataset: Dataset) -> list[Labelled]:
    names = {category['id']: category['name'] for category in data['categories']}
    by_image = defaultdict(list)
    for annotation in data.get('annotations', []):
        by_image[annotation['image_id']].append(annotation)
    items = []
    for image in data['images']:
        read = partial(_coco_annotation, image, by_image.pop(image['id'], []), names)
        items.append(Labelled(folder / image['file_name'], read, dataset.classes, path))
    if by_image:
        count = sum(map(len, by_image.values()))
        dataset.notes.append(f'{path} has {count} annotation(s) for images that it does not list')
    return items


def _coco_annotation(image: dict, annotations: Sequence[dict], names: dict, _: Size) -> Annotation:
    objects = [coco_object(item, names, image) for item in annotations]
    return Annotation(objects, (image['width'], image['height']))
