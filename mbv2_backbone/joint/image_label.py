"""The class of a whole image, for the classifier of a joint model."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ..cls.class_folders import read_list


@TRANSFORMS.register_module()
class LoadImageLabel(BaseTransform):
    """Add the class of the whole image, from a list or from its boxes.

    Without a list it is the class of the largest box that is not ignored. An image that has none,
    or is not listed, has no class: nothing is learned from it, and the metric does not count it.

    Required keys: img_path, with a list; instances, without. Added key: gt_label, an int; packing
    keeps it if it is one of the `meta_keys`.

    Args:
        ann_file: A list as for `ClassFolderDataset`, a line `PATH CLASS` for each image.
        img_prefix: Folder that the paths in the list are relative to.
        classes: Names of the classes in the list; our tools take them from `image_classes`.
    """

    def __init__(
        self,
        *,
        ann_file: str | None = None,
        img_prefix: str = '',
        classes: Sequence[str] = (),
    ) -> None:
        self.ann_file = ann_file
        self.img_prefix = img_prefix
        self.classes = list(classes)

    @cached_property
    def _listed(self) -> dict[str, int]:
        found = read_list(self.ann_file, Path(self.img_prefix), self.classes)
        return {osp.abspath(path): label for path, label in found}

    def transform(self, results: dict) -> dict:
        """Add the class; see the class.

        Raises:
            UserError: If the list cannot be read, or names another class.
        """
        if self.ann_file:
            label = self._listed.get(osp.abspath(results['img_path']))
        else:
            boxes = [b for b in results.get('instances', ()) if not b.get('ignore_flag')]
            largest = max(boxes, key=lambda box: _area(box['bbox']), default=None)
            label = largest and largest['bbox_label']
        if label is not None:
            results['gt_label'] = label
        return results


def _area(xyxy: Sequence[float]) -> float:
    return (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])
