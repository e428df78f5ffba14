"""SSDLite for mmdet. Importing this registers the head, the priors, datasets and transforms."""

from .datasets import CheckedCocoDataset, CheckedVOCDataset
from .head import SSDLiteHead
from .priors import SSDLitePriorGenerator
from .transforms import (
    FastPhotoMetricDistortion,
    LoadImageAsAnnotated,
    LoadImageLazily,
    RandomExpandCropResize,
)

__all__ = [
    'CheckedCocoDataset',
    'CheckedVOCDataset',
    'FastPhotoMetricDistortion',
    'LoadImageAsAnnotated',
    'LoadImageLazily',
    'RandomExpandCropResize',
    'SSDLiteHead',
    'SSDLitePriorGenerator',
]
