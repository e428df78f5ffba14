"""Real images of a config's data, for checking an export and for calibration."""

from __future__ import annotations

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..data.scenes import draw_scene
from ..engine.checks import check_data
from ..errors import UserError
from ..progress import track
from .geometry import Geometry
from .image import place, read_image


def dataset_images(cfg: Config, split: str, count: int, geometry: Geometry) -> list[np.ndarray]:
    """Read images of a config's data, evenly spread over it, at an export's input size.

    Args:
        cfg: The config.
        split: `train` or `test`.
        count: Images at most.
        geometry: What they are resized or padded to.

    Returns:
        `(H, W, 3)` uint8 RGB each.

    Raises:
        UserError: If the data is not there.
    """
    check_data(cfg, (split,))
    node = dict(cfg[f'{split}_dataloader'].dataset)
    while 'dataset' in node:  # repeated and wrapped data sets
        node = dict(node['dataset'])
    dataset = DATASETS.build(dict(node, pipeline=[]))
    if not len(dataset):
        raise UserError(f'the {split} data of the config is empty')
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    paths = [dataset.get_data_info(int(i))['img_path'] for i in np.unique(indices)]
    return [
        _placed(read_image(path), geometry)
        for path in track(paths, f'Reading {split} images', unit='images')
    ]


def drawn_images(count: int, geometry: Geometry) -> list[np.ndarray]:
    """Draw scenes in place of data that is not there."""
    rng = np.random.default_rng(0)
    return [_placed(draw_scene(rng, 192)[0], geometry) for _ in range(count)]


def _placed(image: np.ndarray, geometry: Geometry) -> np.ndarray:
    placed, _ = place(
        image,
        geometry.input_size,
        fit=geometry.fit,
        within=geometry.within,
        pad_value=geometry.pad_value,
    )
    return placed
