"""Outlines as pixels, by pycocotools."""

import numpy as np
import pytest


def rasterise(polygons, height, width):
    mask_utils = pytest.importorskip('pycocotools.mask')
    if not polygons:
        return np.zeros((height, width), bool)
    runs = mask_utils.frPyObjects(polygons, height, width)
    return mask_utils.decode(mask_utils.merge(runs)).astype(bool)
