"""SSDLite for mmdet. Importing this registers the head, the priors, datasets and transforms."""

from ..annotations.loading import LoadImageAsAnnotated, LoadImageLazily
from .colours import FastPhotoMetricDistortion
from .datasets import CheckedCocoDataset, CheckedVOCDataset
from .fpn_lite import FPNLite
from .head import SSDLiteHead
from .neck import SSDLiteNeck
from .priors import SSDLitePriorGenerator
from .quality_head import QualitySSDLiteHead
from .resizing import LegacyResize
from .transforms import RandomExpandCropResize

__all__ = [
    'CheckedCocoDataset',
    'CheckedVOCDataset',
    'FPNLite',
    'FastPhotoMetricDistortion',
    'LegacyResize',
    'LoadImageAsAnnotated',
    'LoadImageLazily',
    'QualitySSDLiteHead',
    'RandomExpandCropResize',
    'SSDLiteHead',
    'SSDLiteNeck',
    'SSDLitePriorGenerator',
]
