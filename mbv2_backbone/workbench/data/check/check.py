"""Summarise a dataset or the data of a config, and find what prevents training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....common.messages import UserError
from ....common.progress import track
from ..find import find_dataset
from ..records import Dataset
from .faults import doubt_values, find_faults, find_overlap
from .stats import SplitStats, count_split, describe

if TYPE_CHECKING:
    from ...checks.finding import Finding
    from ...checks.mask_values import MaskFacts

_THREADS = 4


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        dataset: The dataset that was checked.
        stats: Numbers by split; empty if the data cannot be read.
        findings: What passed and what did not; an `error` stops training.
        doubt: Why the values in masks, which have no names, are hardly classes.
    """

    dataset: Dataset
    stats: dict[str, SplitStats]
    findings: list[Finding]
    doubt: Finding | None = None

    @property
    def stops_training(self) -> bool:
        """Whether any finding would stop training."""
        return any(finding.level == 'error' for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return dict(
            source=str(self.dataset.root),
            layout=self.dataset.format,
            found=self.dataset.found,
            classes=self.dataset.classes,
            mask_classes=self.dataset.mask_classes,
            stops_training=self.stops_training,
            splits={name: asdict(split) for name, split in self.stats.items()},
            findings=[asdict(finding) for finding in self.findings],
        )

    def __repr__(self) -> str:  # what a notebook shows
        others = [name for name in self.dataset.found if name != self.dataset.format]
        also = f' (there is also {", ".join(others)})' if others else ''
        lines = [f'{self.dataset.root}: {self.dataset.format}{also}', '']
        if self.stats:
            lines += [describe(self.stats), '']
        return '\n'.join([*lines, *map(str, self.findings)])


def check_data(source: str | Path, *, task: str | None = None, layout: str | None = None) -> Report:
    """Summarise a dataset, and find what would prevent training.

    Args:
        source: Folder of a dataset, or a config.
        task: What to check in a folder: boxes (`det`), masks (`seg`), both (`both`), or images
            sorted by class (`cls`); by default whatever there is.
        layout: Format of a folder that has several: `coco`, `voc`, `yolo`, `labelme` or `masks`;
            by default the one that suits the task.

    Raises:
        UserError: If there is no dataset of that kind, or the config cannot be read.
    """
    if Path(source).is_dir():
        return check_folder(source, format_name=layout, task=task)
    if not Path(source).suffix and not Path(source).exists():
        raise UserError(f'there is no folder {source}')
    if task or layout:
        raise UserError(f'--task and --layout are for folders, but {source} is not a folder')
    return check_config(str(source))


def check_folder(
    folder: str | Path, *, format_name: str | None = None, task: str | None = None
) -> Report:
    """Check the dataset in a folder; see `find_dataset` for the arguments."""
    return check_dataset(find_dataset(folder, format_name=format_name, task=task))


def check_dataset(dataset: Dataset) -> Report:
    """Read the headers of all images, all annotations and all masks of a dataset.

    Values in masks without a name are named by their numbers, in place.
    """
    masks = _read_all(dataset)
    doubt = None
    if masks and not dataset.mask_classes:
        values = [value for fact in masks.values() for value, _ in fact.counts]
        indices = [value for value in values if isinstance(value, int) and value < 255]
        dataset.mask_classes = tuple(f'class_{i}' for i in range(max(indices, default=-1) + 1))
        doubt = doubt_values(masks.values())
    findings = find_faults(dataset, masks) + find_overlap(dataset.splits)
    findings += [doubt] if doubt else []
    return Report(dataset, _count(dataset, masks), findings, doubt)


def check_config(path: str) -> Report:
    """Check the datasets that a config trains and tests on.

    Raises:
        UserError: If the config cannot be read.
    """
    from ...checks.config_data import check_config_data
    from ...configs.read import load_config
    from ...configs.summary import summarise
    from .of_config import config_splits, set_of_config

    cfg = load_config(path)
    summary = summarise(cfg)
    splits = config_splits(summary)
    findings = check_config_data(cfg, summary, splits)
    if any(finding.level == 'error' for finding in findings):
        return Report(Dataset(Path(path), 'config'), {}, findings)
    dataset = set_of_config(summary, Path(path), splits)
    masks = _read_all(dataset)
    findings += find_overlap(dataset.splits)
    return Report(dataset, _count(dataset, masks), findings)


def _read_all(dataset: Dataset) -> dict[Path, MaskFacts]:
    """Read images and annotations into the records; return the facts about the masks."""
    images = [item for split in dataset.splits.values() for item in split]
    with ThreadPoolExecutor(_THREADS) as pool:
        reads = pool.map(lambda item: item.record, images)
        for _ in track(reads, 'Checking images', total=len(images), unit='images'):
            pass
    pairs = {item.mask: item.path for item in images if item.mask}
    if not pairs:
        return {}
    from ...checks.mask_values import scan_masks  # detection works without mmseg

    with tempfile.TemporaryDirectory() as folder:
        names = [(str(mask), str(image)) for mask, image in pairs.items()]
        return dict(zip(pairs, scan_masks(names, Path(folder, 'masks.json')), strict=True))


def _count(dataset: Dataset, masks: Mapping[Path, MaskFacts]) -> dict[str, SplitStats]:
    classes, names = dataset.classes, dataset.value_names
    return {
        split: count_split([item.record for item in items], classes, masks, names)
        for split, items in dataset.splits.items()
    }
