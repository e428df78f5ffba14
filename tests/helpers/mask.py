"""Masks in every coding, and how mmseg reads them."""

import cv2
import numpy as np
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mbv2_backbone.annotations.masks import MaskCoding, write_palette_png

PALETTE = [(0, 0, 0), (250, 10, 10), (10, 250, 10), (10, 10, 250), (9, 9, 9)]
CODINGS = [
    MaskCoding(),
    MaskCoding(reduce_zero_label=True),
    MaskCoding(label_map={0: 255, 1: 2, 2: 0, 3: 1, 4: 255}),
    MaskCoding(reduce_zero_label=True, label_map={0: 1, 1: 0, 2: 255}),
]


def write_mask(path, labels, mode):
    if mode == 'P':
        write_palette_png(path, labels, PALETTE)
    elif mode == 'I;16':
        cv2.imwrite(str(path), labels.astype(np.uint16))
    elif mode == '1':
        Image.fromarray(labels > 0).save(path)
    else:
        Image.fromarray(labels).save(path)
    return str(path)


def stock_labels(path, coding, backend='pillow'):
    """Return the labels that mmseg reads."""
    sample = dict(
        seg_map_path=path,
        reduce_zero_label=coding.reduce_zero_label,
        label_map=coding.label_map,
        seg_fields=[],
    )
    return LoadAnnotations(imdecode_backend=backend)(sample)['gt_seg_map']


def write_image(path, size_hw):
    cv2.imwrite(str(path), np.full((*size_hw, 3), 99, np.uint8))
    return str(path)
