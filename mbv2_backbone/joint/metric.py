"""Mean IoU for a data set whose boxes and masks have classes of their own."""

from __future__ import annotations

from mmdet.evaluation import SemSegMetric
from mmdet.registry import METRICS


@METRICS.register_module()
class JointSemSegMetric(SemSegMetric):
    """mmdet's `SemSegMetric` on `seg_classes` of the data set's metainfo.

    `classes` are those of the boxes; masks have a background besides.
    """

    @property
    def dataset_meta(self) -> dict | None:
        """The metainfo, with the classes of the masks as `classes`."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        if not meta.get('seg_classes'):
            raise ValueError(
                'JointSemSegMetric needs seg_classes in the metainfo of the data set; put '
                "`seg_classes = ('background', ...)` at the top level of the config"
            )
        self._dataset_meta = dict(meta, classes=meta['seg_classes'])
