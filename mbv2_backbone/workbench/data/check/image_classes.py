"""Check a folder of images sorted by split and class."""

from __future__ import annotations

from pathlib import Path

from ....cls.class_folders import ClassFolderDataset, class_folders
from ....common.messages import UserError, first_names
from ...checks.box_counts import count_samples
from ...checks.broken_images import MAX_BROKEN
from ...checks.config_data import judge_broken
from ...checks.finding import Finding
from ...checks.image_files import judge_all, samples_of
from ..names import split_folder
from ..records import Dataset, Labelled


def check_class_folders(root: Path) -> tuple[Dataset, list[Finding]]:
    """Read `root/train/CLASS/a.jpg` and so on as a run does.

    Returns:
        The images by split, and what is right and wrong with them.

    Raises:
        UserError: If there is no folder of training images.
    """
    folders = {split_folder(name): name for name in class_folders(root)}
    if 'train' not in folders:
        raise UserError(
            f'{root} has no folder train; sort the images into {root}/train/CLASS and '
            f'{root}/val/CLASS'
        )
    dataset = Dataset(root, 'folders', found=('folders',))
    classes = class_folders(root / folders['train'])
    findings = []
    for split in ('train', 'val', 'test'):
        if split not in folders:
            if split == 'val':
                fix = f'put about a fifth of the images into {root}/val/CLASS'
                findings.append(Finding('error', 'there is no folder val', fix))
            continue
        try:
            found = ClassFolderDataset(
                data_root=str(root),
                data_prefix=dict(img_path=folders[split]),
                metainfo=dict(classes=classes),
            )
        except UserError as error:
            findings.append(Finding('error', f'{split}: {error}', 'see above'))
            continue
        samples = samples_of(found)
        items = [Labelled(Path(sample['img_path'])) for sample in samples]
        dataset.splits[split] = items
        findings += count_samples(split, samples)
        if found.single:
            what = f'{split}: only one image of {first_names(found.single, 6)}'
            findings.append(Finding('warning', what, 'add more'))
        facts = (item.facts for item in items)
        broken, notes = judge_all(zip(samples, facts, strict=True))
        share = MAX_BROKEN if split == 'train' else 0
        findings += judge_broken(split, broken, len(items), share)
        fix = 'nothing if this is intended'
        findings += [Finding('warning', f'{split}: {note}', fix) for note in notes]
    return dataset, findings
