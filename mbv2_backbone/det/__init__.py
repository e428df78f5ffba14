"""SSDLite for mmdet. Importing this registers the head, the priors, datasets and transforms."""

from .colours import FastPhotoMetricDistortion
from .datasets import CheckedCocoDataset, CheckedVOCDataset
from .head import SSDLiteHead
from .loading import LoadImageAsAnnotated, LoadImageLazily
from .priors import SSDLitePriorGenerator
from .transforms import RandomExpandCropResize

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
