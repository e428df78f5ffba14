"""Datasets of images sorted into folders by class, or listed with their class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from torchvision.models import MobileNet_V2_Weights

from ..annotations.images import IMAGE_SUFFIXES
from ..common.messages import UserError, first_names, warn


def class_folders(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; those that begin with a dot are not."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != '.')


def images_of_class(folder: Path) -> list[Path]:
    """Return the images in a folder and in those inside it, sorted."""
    paths = (path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in paths if path.name[0] != '.')


def listed_class(line: str) -> tuple[str, str] | None:
    """Return the path and the class in a line of a list; `None` without both."""
    path, _, name = line.partition('\t') if '\t' in line else line.rpartition(' ')
    return (path.strip(), name.strip()) if path.strip() and name.strip() else None


def read_list(file: str, root: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the images in a list and their labels.

    Args:
        file: With a line `PATH CLASS`, by name or number, for each image.
        root: Folder that the paths are relative to.
        classes: Names of the classes.

    Raises:
        UserError: If it cannot be read, or a line does not end in a class.
    """
    try:
        lines = Path(file).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{file} cannot be read: {error}') from error
    found = []
    for line in filter(None, map(str.strip, lines)):
        path, name = listed_class(line) or ('', '')
        if name in classes:
            label = classes.index(name)
        elif name.isdecimal() and int(name) < len(classes):
            label = int(name)
        else:
            known = first_names(classes, 6) or 'the config has none'
            raise UserError(
                f'{file}: {line!r} does not end in a class; write PATH, a tab and a '
                f'name or number of `classes`: {known}'
            )
        found.append((root / path, label))
    return found


@DATASETS.register_module()
class ClassFolderDataset(BaseDataset):
    """Images in one folder for each class, or named with their class in a list.

    Without `ann_file`, the images of a class are those in `<img_path>/<class>` and below. A line of
    `ann_file` is the path of an image in `img_path`, a space or tab, and the name or the number
    of its class, from 0. Without `classes` in the metainfo, they are the folders' names.

    Args:
        in_order: Whether the sorted folders are the classes in their order, by other names.
        **kwargs: As for mmengine's `BaseDataset`; `data_prefix` has `img_path`.

    Attributes:
        single: The classes with only one image.

    Raises:
        UserError: If there is no image, a class has none, or files and config name other classes.
    """

    def __init__(self, *, in_order: bool = False, **kwargs: Any) -> None:
        self.in_order = in_order
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images, and name the classes that have only one."""
        root = Path(self.data_prefix['img_path'])
        classes = list(self._metainfo.get('classes') or ())
        where = self.ann_file or str(root)
        found = (
            read_list(self.ann_file, root, classes)
            if self.ann_file
            else self._in_folders(root, classes)
        )
        self._metainfo['classes'] = tuple(classes)
        counts = Counter(label for _, label in found)
        empty = [name for label, name in enumerate(classes) if not counts[label]]
        if not found or empty:
            raise UserError(
                f'{where} has no image{" of " * bool(empty)}{first_names(empty, 6)}; put some '
                f'there ({", ".join(IMAGE_SUFFIXES[:4])} and so on), or remove the class from all '
                f'splits and from `classes` in the config'
            )
        self.single = [classes[label] for label, count in counts.items() if count == 1]
        if self.single:
            warn(f'{where} has only one image of {first_names(self.single, 6)}; add more')
        return [dict(img_path=str(path), img_id=i, gt_label=k) for i, (path, k) in enumerate(found)]

    def _in_folders(self, root: Path, classes: list[str]) -> list[tuple[Path, int]]:
        """Return images and labels; classes that are not known are added in place."""
        names = class_folders(root)
        if not names:
            raise UserError(
                f'{root} has no folder; each class needs one with its images, {root}/CLASS/a.jpg'
            )
        classes.extend(names if not classes else ())
        if self.in_order and len(names) != len(classes):
            raise UserError(
                f'{root} has {len(names)} folders for {len(classes)} classes, so that their order '
                f'does not name them; complete the dataset'
            )
        others = [] if self.in_order else [name for name in names if name not in classes]
        if others:
            raise UserError(
                f'{root} has folders of other classes than the config or the training split: '
                f'{first_names(others, 6)}; the classes are {first_names(classes, 6)}. Put the '
                f'same folders into all splits and into `classes`, or move these elsewhere'
            )
        folders = names if self.in_order else [name for name in classes if name in names]
        return [
            (path, label if self.in_order else classes.index(name))
            for label, name in enumerate(folders)
            for path in images_of_class(root / name)
        ]


@DATASETS.register_module()
class ImageNetFolderDataset(ClassFolderDataset):
    """ImageNet-1k as its folders `n01440764` to `n15075141`, with the names that torchvision gives.

    Args:
        **kwargs: As for `ClassFolderDataset`.
    """

    METAINFO: ClassVar = dict(classes=tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta['categories']))

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(in_order=not kwargs.get('ann_file'), **kwargs)
