"""SSDLite for mmdet. Importing this registers the head, the priors, datasets and transforms."""

from .aligned_head import AlignedSSDLiteHead
from .colours import FastPhotoMetricDistortion
from .datasets import CheckedCocoDataset, CheckedVOCDataset
from .fpn_lite import FPNLite
from .head import SSDLiteHead
from .loading import LoadImageAsAnnotated, LoadImageLazily
from .priors import SSDLitePriorGenerator
from .transforms import RandomExpandCropResize

__all__ = [
    'AlignedSSDLiteHead',
    'CheckedCocoDataset',
    'CheckedVOCDataset',
    'FPNLite',
    'FastPhotoMetricDistortion',
    'LoadImageAsAnnotated',
    'LoadImageLazily',
    'RandomExpandCropResize',
    'SSDLiteHead',
    'SSDLitePriorGenerator',
]
