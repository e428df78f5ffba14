"""What a config says, read once: its task, its classes, its datasets and its work directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mmengine.config import Config

from ...common.messages import UserError
from .palettes import Palette, class_palette, random_palette
from .read import SPLITS, datasets_of, metainfo_of, task_of


@dataclass(frozen=True)
class Classes:
    """The classes that a model predicts.

    Attributes:
        names: Names of the classes, indexed by label.
        palette: An RGB colour for each class, in [0, 255].
    """

    names: tuple[str, ...] = ()
    palette: Palette = ()


@dataclass(frozen=True)
class DatasetSummary:
    """One dataset that reads files, without the wrappers around it.

    Attributes:
        config: Its config.
        metainfo: Its class's `METAINFO`, overridden by its config's `metainfo`.
    """

    config: dict
    metainfo: Mapping[str, Any]


@dataclass(frozen=True)
class ConfigSummary:
    """The contents of a config before planning; the steps of a plan do not change it.

    Attributes:
        task: `det`, `seg`, `joint` or `cls`.
        work_dir: Folder that a run writes to.
        data_help: How to get the data, as stated in the config.
        datasets: The datasets of each split: `train`, `val` and `test`.
        boxes: Classes of the boxes, or a classifier's; `None` if no dataset names them.
        masks: Classes of the masks; `None` if no dataset names them.
        images: Classes of whole images of a joint model; none if it has no classifier.
    """

    task: str
    work_dir: str
    data_help: str
    datasets: Mapping[str, tuple[DatasetSummary, ...]]
    boxes: Classes | None
    masks: Classes | None
    images: Classes = Classes()

    def of(self, splits: Sequence[str]) -> list[DatasetSummary]:
        """Return the datasets of the given splits."""
        return [dataset for split in splits for dataset in self.datasets[split]]

    def box_classes(self) -> Classes:
        """Return the classes of the boxes; none for a segmentor or a classifier.

        Raises:
            UserError: If no dataset names them.
        """
        return _named(self.boxes) if self.task in ('det', 'joint') else Classes()

    def mask_classes(self) -> Classes:
        """Return the classes of the masks; none for a detector or a classifier.

        Raises:
            UserError: If no dataset names them.
        """
        return _named(self.masks) if self.task in ('seg', 'joint') else Classes()

    def image_classes(self) -> Classes:
        """Return the classes of whole images; none unless there is a classifier.

        Raises:
            UserError: If no dataset names them.
        """
        return _named(self.boxes) if self.task == 'cls' else self.images


def _named(classes: Classes | None) -> Classes:
    if classes is None:
        raise UserError(
            'no dataset of the config names its classes; put `classes = (...)` at the top'
        )
    return classes


def summarise(cfg: Config) -> ConfigSummary:
    """Read the frequently needed parts of a config; its default scope must be set."""
    datasets = {
        split: tuple(DatasetSummary(node, metainfo_of(node)) for node in datasets_of(cfg, (split,)))
        for split in SPLITS
    }
    boxes = masks = None
    images = Classes()
    for split in ('test', 'val', 'train'):
        named = [dataset for dataset in datasets[split] if dataset.metainfo.get('classes')]
        if named:
            names = tuple(named[0].metainfo['classes'])
            boxes = masks = Classes(names, class_palette(named[0].config))
            if named[0].metainfo.get('seg_classes'):
                names = tuple(named[0].metainfo['seg_classes'])
                palette = named[0].metainfo.get('seg_palette') or random_palette(len(names))
                masks = Classes(names, palette)
            if cfg.model.get('cls_head'):
                names = tuple(named[0].metainfo.get('image_classes') or boxes.names)
                palette = boxes.palette if names == boxes.names else random_palette(len(names))
                images = Classes(names, palette)
            break
    return ConfigSummary(
        task=task_of(cfg),
        work_dir=cfg.work_dir,
        data_help=cfg.get('data_help', ''),
        datasets=MappingProxyType(datasets),
        boxes=boxes,
        masks=masks,
        images=images,
    )
