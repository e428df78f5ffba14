"""Images from a config's datasets, for verifying an export and for calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import set_random_seed

from ...common.messages import UserError
from ...common.progress import track
from ...deploy.image import load_rgb, place
from ..checks.before_run import check_data
from ..configs.read import inner_dataset
from ..configs.summary import ConfigSummary
from ..data.sample.scenes import draw_scene
from .geometry import Geometry


def training_images(
    cfg: Config, summary: ConfigSummary, count: int, geometry: Geometry
) -> list[np.ndarray]:
    """Return images from the training pipeline of a config, before normalisation.

    Random crops, flips and colours are the same in every run. See `test_images` for the rest.
    """
    check_data(summary, ('train',))
    set_random_seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    images = (
        dataset[i]['inputs'].clamp(0, 255).round().to(torch.uint8)
        for i in track(_spread(len(dataset), count), 'Reading train images', unit='images')
    )
    # They are cut already.
    rules = geometry.rules
    rules = replace(rules, fit='stretch') if rules.fit == 'centre' else rules
    return [
        place(np.ascontiguousarray(image.numpy()[::-1].transpose(1, 2, 0)), rules)[0]
        for image in images
    ]


def test_images(
    cfg: Config, summary: ConfigSummary, count: int, geometry: Geometry
) -> list[np.ndarray]:
    """Read test images of a config, at an export's input size.

    At most `count` images, evenly spread over the data, are resized or padded.

    Returns:
        Images, each `(H, W, 3)` RGB of `Metadata.input_type`.

    Raises:
        UserError: If the data is missing.
    """
    check_data(summary, ('test',))
    dataset = DATASETS.build(dict(inner_dataset(cfg.test_dataloader.dataset), pipeline=[]))
    paths = [dataset.get_data_info(i)['img_path'] for i in _spread(len(dataset), count)]
    return [
        placed(load_rgb(path), geometry)
        for path in track(paths, 'Reading test images', unit='images')
    ]


def _spread(total: int, count: int) -> list[int]:
    if not total:
        raise UserError('the data of the config is empty')
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()


def drawn_images(count: int, geometry: Geometry) -> list[np.ndarray]:
    """Draw scenes as a substitute for missing data."""
    rng = np.random.default_rng(0)
    return [placed(draw_scene(rng, 192)[0], geometry) for _ in range(count)]


def placed(image: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Resize and pad an image `(H, W, 3)` uint8 to an export's input size and type."""
    return place(image, geometry.rules)[0]
