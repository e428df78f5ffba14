"""mmseg's IoU metric, with per-class results and masks saved in the dataset's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from ..annotations.masks import BACKGROUND_COLOUR, write_palette_png
from ..common.files import result_path


@METRICS.register_module()
class ClassIoUMetric(IoUMetric):
    """mmseg's `IoUMetric`; its results also have `IoU/<class>`, `Acc/<class>` and so on.

    A class that is neither in the prediction nor in the ground truth has no value and is skipped.

    Args:
        mask_dir: Folder for the predicted masks, as palette PNGs of the size of the images. With
            `reduce_zero_label` class 0 is written as 1, as in the files of such datasets.
        image_root: Folder of the images; folders below it are kept below `mask_dir`.
        **kwargs: As for `IoUMetric`.
    """

    def __init__(
        self, *, mask_dir: str | None = None, image_root: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mask_dir = mask_dir
        self.image_root = image_root

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare one batch with the ground truth; see mmseg."""
        super().process(data_batch, data_samples)
        if self.mask_dir is None:
            return
        palette = [tuple(colour) for colour in self.dataset_meta['palette']]
        for sample in data_samples:
            labels = sample['pred_sem_seg']['data'].squeeze(0).cpu().numpy().astype(np.uint8)
            colours = palette
            if sample.get('reduce_zero_label', False):
                labels, colours = labels + np.uint8(1), [BACKGROUND_COLOUR, *palette]
            path = result_path(sample['img_path'], self.image_root, self.mask_dir, '.png')
            write_palette_png(path, labels, colours)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the means, and the values of each class, in percent."""
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        areas = [sum(areas) for areas in zip(*results, strict=True)]
        values = self.total_area_to_metrics(*areas, self.metrics, self.nan_to_num, self.beta)
        values.pop('aAcc')
        for key, by_class in values.items():
            for name, value in zip(self.dataset_meta['classes'], by_class, strict=True):
                if np.isfinite(value):
                    metrics[f'{key}/{name}'] = round(float(value) * 100, 2)
        return metrics
