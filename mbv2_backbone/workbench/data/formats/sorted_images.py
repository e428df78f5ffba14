"""Read images that are sorted into folders by class, or listed with their class."""

from __future__ import annotations

from pathlib import Path

from ....cls.class_folders import ClassFolderDataset, class_folders, images_of_class, listed_class
from ....common.messages import UserError, first_names
from ..names import CROPS, MADE_SPLIT, read_classes, read_text, split_folder
from ..records import SORTED, Dataset, Labelled, Source
from ..tree import PARTS, Folder

_SPLITS = ('train', 'val', 'test')
_LISTS = ('', 'meta')  # folders of the lists
_LAYOUT = """\
train/cat/a.jpg          any name, and any folders inside; or cat/a.jpg, without splits
train/dog/b.jpg
val/cat/c.jpg            or train.txt and val.txt with a line `PATH CLASS` for each image
val/dog/d.jpg"""


def is_sorted(root: Path) -> bool:
    """Whether a folder looks like images sorted by class: several folders of photos, or lists."""
    here, names = _class_folders(root)
    lists = _lists(root)
    if not names and 'train' in lists:
        return all(map(listed_class, _lines(lists['train'])))
    parts = [n for n in names if n.lower() in PARTS or Folder(here, (n,)).is_of_masks]
    return len(names) > 1 and not parts and all(images_of_class(here / name) for name in names)


def read_sorted(root: Path) -> Dataset:
    """Read `root/train/CLASS/a.jpg` and so on, lists, or `root/CLASS/a.jpg`.

    Raises:
        UserError: If there is nothing like it.
    """
    dataset = Dataset(root, SORTED, found=(SORTED,))
    folders, lists = _folders(root), _lists(root)
    dataset.classes = _class_names(root, lists)
    for split in _SPLITS:
        folder = folders.get(split)
        if folder and (class_folders(folder) or split not in lists):
            dataset.sources[split] = Source(folder)
        elif split in lists:
            dataset.sources[split] = Source(_home(root, folder, lists[split]), lists[split])
    if not dataset.sources:
        dataset.sources['train'] = Source(root)
    for split, source in dataset.sources.items():
        dataset.splits[split] = _read_split(dataset, split, source)
    return dataset


def _folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits."""
    names = {split_folder(name): root / name for name in class_folders(root)}
    return {split: names[split] for split in _SPLITS if split in names}


def _lists(root: Path) -> dict[str, Path]:
    """Return the lists of the splits, if there is a list or a folder to train on."""
    paths = (root / folder / f'{split}.txt' for folder in _LISTS for split in reversed(_SPLITS))
    found = {path.stem: path for path in paths if path.is_file()}
    return found if 'train' in found or 'train' in _folders(root) else {}


def _lines(path: Path) -> list[str]:
    return list(filter(None, map(str.strip, read_text(path).splitlines())))


def _class_folders(root: Path) -> tuple[Path, list[str]]:
    """Return the folder that has one for each class, and their names."""
    here = _folders(root).get('train', root)
    if here == root and 'train' in _lists(root):
        return here, []
    return here, [name for name in class_folders(here) if name not in (MADE_SPLIT, CROPS)]


def _class_names(root: Path, lists: dict[str, Path]) -> tuple[str, ...]:
    _, names = _class_folders(root)
    if not names and 'train' in lists:
        names, _ = read_classes(root)
        listed = {listed_class(line)[1] for line in _lines(lists['train']) if listed_class(line)}
        if not names and all(map(str.isdecimal, listed)):
            return tuple(f'class_{i}' for i in range(max(map(int, listed), default=-1) + 1))
        names = names or tuple(sorted(listed))
    if not names:
        layout = _LAYOUT.replace('\n', '\n  ')
        raise UserError(f'{root} has no images sorted by class, which are laid out so:\n  {layout}')
    return tuple(names)


def _home(root: Path, folder: Path | None, names: Path) -> Path:
    """Return the folder that the paths in a list are relative to."""
    first = next(iter(_lines(names)), '')
    path = (listed_class(first) or ('', ''))[0]
    return folder if folder and not (root / path).is_file() else root


def _read_split(dataset: Dataset, split: str, source: Source) -> list[Labelled]:
    """Read the images of a split as training does; what is wrong is a problem of the dataset."""
    if source.images == dataset.root and not source.annotations:  # where our lists may be, too
        found = [
            (path, k)
            for k, name in enumerate(dataset.classes)
            for path in images_of_class(dataset.root / name)
        ]
        empty = {*range(len(dataset.classes))} - {k for _, k in found}
        names = first_names([dataset.classes[k] for k in sorted(empty)], 6)
        if empty:
            dataset.problems.append(f'there is no image of {names}; put some there')
        return [Labelled(path, label=k) for path, k in found]
    try:
        images = ClassFolderDataset(
            ann_file=str(source.annotations or ''),
            data_prefix=dict(img_path=str(source.images)),
            metainfo=dict(classes=dataset.classes),
        )
    except UserError as error:
        dataset.problems.append(f'{split}: {error}')
        return []
    if images.single:
        names = first_names(images.single, 6)
        dataset.notes.append(f'{split}: only one image of {names}; more would be better')
    samples = (images.get_data_info(i) for i in range(len(images)))
    return [Labelled(Path(sample['img_path']), label=sample['gt_label']) for sample in samples]
