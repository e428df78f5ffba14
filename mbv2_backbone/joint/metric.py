"""Metrics for a dataset whose boxes, masks and images have separate class lists."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.registry import METRICS

from ..cls.class_metrics import ClassAccuracy
from ..seg.metrics import ClassIoUMetric


@METRICS.register_module()
class JointIoUMetric(ClassIoUMetric):
    """`ClassIoUMetric` on the masks of mmdet's data samples.

    Classes and colours are `seg_classes` and `seg_palette` in the dataset's metainfo: the masks
    have a background class, the boxes have none. Results are named `seg/mIoU` and so on.
    """

    default_prefix = 'seg'

    @property
    def dataset_meta(self) -> dict | None:
        """The metainfo, with the classes of the masks as `classes`."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        if not meta.get('seg_classes'):
            raise ValueError(
                'JointIoUMetric needs seg_classes in the metainfo of the dataset; put '
                "`seg_classes = ('background', ...)` at the top level of the config"
            )
        self._dataset_meta = dict(
            meta, classes=meta['seg_classes'], palette=meta.get('seg_palette')
        )

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare one batch with the ground truth."""
        keys = ('pred_sem_seg', 'gt_sem_seg')
        renamed = [
            sample | {key: dict(data=sample[key]['sem_seg']) for key in keys if key in sample}
            for sample in data_samples
        ]
        super().process(data_batch, renamed)


@METRICS.register_module()
class JointClassAccuracy(ClassAccuracy):
    """`ClassAccuracy` on the images that have a class; the classes are `image_classes`."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of one batch."""
        super().process(data_batch, [sample for sample in data_samples if 'gt_label' in sample])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the shares; none if no image has a class."""
        return super().compute_metrics(results) if results else {}

    @property
    def dataset_meta(self) -> dict | None:
        """The metainfo, with the classes of the images as `classes`."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self._dataset_meta = dict(meta, classes=meta.get('image_classes') or meta.get('classes'))
