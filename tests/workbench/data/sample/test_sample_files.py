"""Polygons of masks, and an image without objects."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.raster import rasterise

from mbv2_backbone.workbench.data.formats.voc import voc_tree
from mbv2_backbone.workbench.data.outlines import mask_to_polygons
from mbv2_backbone.workbench.data.records import AnnotatedImage
from mbv2_backbone.workbench.data.sample.sample_files import label_map
from mbv2_backbone.workbench.data.sample.scenes import CLASSES


@pytest.mark.parametrize('seed', range(6))
def test_polygons_give_the_mask_back(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 60, 2)
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), 0.3 + seed / 2)
    mask = noise > np.median(noise)
    np.testing.assert_array_equal(rasterise(mask_to_polygons(mask), height, width), mask)


@pytest.mark.parametrize(
    'mask',
    [
        np.zeros((5, 7), bool),
        np.ones((5, 7), bool),
        np.eye(6, dtype=bool),
        np.pad(np.ones((1, 1), bool), 2),
        ~np.pad(np.ones((1, 1), bool), 2),
        ~np.pad(np.eye(3, dtype=bool), 3),
    ],
    ids=['empty', 'full', 'diagonal', 'pixel', 'pixel hole', 'diagonal hole'],
)
def test_polygons_of_special_masks(mask):
    polygons = mask_to_polygons(mask)
    np.testing.assert_array_equal(rasterise(polygons, *mask.shape), mask)


def test_an_image_without_objects_in_both_formats():
    assert not label_map((4, 5), []).any()
    assert label_map((4, 5), []).shape == (4, 5)
    root = voc_tree(AnnotatedImage(Path('a.jpg'), 'a.jpg', (5, 4)), CLASSES).getroot()
    assert root.findall('object') == []
    assert root.findtext('size/width') == '5'
