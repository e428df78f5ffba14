"""The masks of the Semantic Boundaries Dataset, which make 10,582 training images of VOC 2012."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ....common.files import folder_replaced_whole
from ....common.progress import track
from ..names import read_names

_LISTS = 'ImageSets/Segmentation'


def add_sbd(sbd: Path, voc: Path) -> None:
    """Add SBD's masks and the lists `aug.txt` and `trainaug.txt` to a folder of VOC 2012.

    The lists are those of mmseg's `voc_aug.py`, sorted: `aug` is what SBD adds to VOC's own
    train and val, `trainaug` is that plus VOC's train. `SegmentationClassAug` gets SBD's masks for
    `aug`, and for train and val VOC's own, which are finer and have void borders.

    Args:
        sbd: `benchmark_RELEASE/dataset`, with `cls/*.mat`, `train.txt` and `val.txt`.
        voc: `VOCdevkit/VOC2012`, with `SegmentationClass` and `ImageSets/Segmentation`.
    """
    train, val = (set(read_names(voc / _LISTS / f'{split}.txt')) for split in ('train', 'val'))
    aug = {*read_names(sbd / 'train.txt'), *read_names(sbd / 'val.txt')} - train - val
    with folder_replaced_whole(voc / 'SegmentationClassAug') as masks:
        for name in track(sorted(aug), 'Converting masks', unit='masks'):
            _convert_mask(sbd / 'cls' / f'{name}.mat', masks / f'{name}.png')
        for name in train | val:
            shutil.copyfile(voc / 'SegmentationClass' / f'{name}.png', masks / f'{name}.png')
    _write_names(voc / _LISTS / 'aug.txt', aug)
    _write_names(voc / _LISTS / 'trainaug.txt', aug | train)


def _write_names(path: Path, names: Iterable[str]) -> None:
    path.write_text(''.join(f'{name}\n' for name in sorted(names)), encoding='utf-8')


def _convert_mask(source: Path, to: Path) -> None:
    """Write the class of each pixel, 0 for background, as an 8-bit PNG."""
    import numpy as np
    from PIL import Image
    from scipy.io import loadmat

    mask = loadmat(source)['GTcls'][0]['Segmentation'][0]
    Image.fromarray(mask.astype(np.uint8)).save(to)
