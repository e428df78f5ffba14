"""The sample dataset: generated scenes of four shape classes, in COCO and VOC format, and crops.

Every image is drawn from its own seed ``(seed, split, index)``, so an image does not depend on
the number of others.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....common.files import folder_replaced_whole, is_free
from ....common.messages import UserError
from ....common.progress import track
from .sample_files import write_dataset
from .scenes import CLASSES, PALETTE, draw_scene

DRAWN = ('train', 'val')  # splits of the sample
MIN_SIZE = 64

MARKER = 'sample.json'
_VERSION = 4  # increased when the drawing changes, so that older images are not reused


@dataclass(frozen=True)
class SampleSummary:
    """The contents of a generated dataset; the keys are the splits, and the class names for boxes.

    Args:
        root: Folder of the dataset.
        images: Number of images.
        empty: Number of images without an object.
        boxes: Number of boxes of each class.
        is_new: False if it already existed and nothing was drawn.
    """

    root: Path
    images: dict[str, int]
    empty: dict[str, int]
    boxes: dict[str, dict[str, int]]
    is_new: bool


def generate_sample(
    out_dir: str | os.PathLike,
    *,
    num_train: int = 600,
    num_val: int = 100,
    size: int = 192,
    seed: int = 0,
    force: bool = False,
) -> SampleSummary:
    """Draw the sample dataset, or return at once if it already exists.

    It is drawn in a folder next to ``out_dir`` and renamed, so a folder with ``sample.json``
    is complete. Boxes are the tight boxes of the visible pixels.

    Args:
        out_dir: Folder of the dataset.
        num_train: Number of training images.
        num_val: Number of validation images; they do not depend on ``num_train``.
        size: Height and width of the images in pixels.
        seed: The same seed gives the same dataset.
        force: Draw again and replace the existing dataset.

    Raises:
        UserError: For a number out of range, or if ``out_dir`` contains something else.
    """
    parameters = dict(version=_VERSION, num_train=num_train, num_val=num_val, size=size, seed=seed)
    for name, least in dict(num_train=1, num_val=1, size=MIN_SIZE, seed=0).items():
        if parameters[name] < least:
            raise UserError(f'{name} must be at least {least}, got {parameters[name]}')
    root = Path(out_dir)
    target = root.resolve()
    found = _find(target, parameters, force=force)
    if found is not None:
        return SampleSummary(root=root, **found, is_new=False)

    with folder_replaced_whole(target) as drawn:
        jobs = [(split, index) for split in DRAWN for index in range(parameters[f'num_{split}'])]
        scenes = (
            (split, *draw_scene(np.random.default_rng([seed, DRAWN.index(split), index]), size))
            for split, index in track(jobs, 'Drawing', unit='images')
        )
        contents = write_dataset(drawn, scenes, classes=CLASSES, palette_rgb=PALETTE)
        marker = {'parameters': parameters, 'contents': contents}
        (drawn / MARKER).write_text(json.dumps(marker, indent=2) + '\n', encoding='utf-8')
    return SampleSummary(root=root, **contents, is_new=True)


def _find(target: Path, parameters: dict[str, int], *, force: bool) -> dict | None:
    """Return the contents of an existing dataset if it has these parameters and may be kept."""
    if is_free(target):
        return None
    marker = _read_marker(target / MARKER)
    if marker is None:
        raise UserError(
            f'{target} exists and is not a sample dataset (it has no {MARKER} of ours), so it is '
            'left alone; choose another folder, or move it away'
        )
    if force:
        return None
    if marker['parameters'] == parameters:
        return marker['contents']
    there, asked = (
        ', '.join(f'{name}={value}' for name, value in values.items())
        for values in (marker['parameters'], parameters)
    )
    raise UserError(
        f'{target} contains another sample dataset ({there}), requested: ({asked}); '
        'choose another folder, or generate it again with --force (force=True)'
    )


def _read_marker(path: Path) -> dict | None:
    try:
        marker = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(marker, dict) and marker.keys() == {'parameters', 'contents'}
    return marker if is_ours else None
