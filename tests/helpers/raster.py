"""Polygons as pixels, by pycocotools."""

import numpy as np
from pycocotools import mask as mask_utils


def rasterise(polygons, height, width):
    if not polygons:
        return np.zeros((height, width), bool)
    runs = mask_utils.frPyObjects(polygons, height, width)
    return mask_utils.decode(mask_utils.merge(runs)).astype(bool)
