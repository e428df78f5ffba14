"""DeepLabV3 for mmseg. Importing this registers the heads, losses, datasets and transforms."""

from .datasets import CamVidDataset, LoadLabelMap
from .deeplabv3 import DeepLabV3Head
from .deeplabv3plus import DeepLabV3PlusHead
from .losses import PixelCrossEntropyLoss
from .lraspp import MobileLRASPPHead
from .metrics import ClassIoUMetric
from .transforms import FastPackSegInputs, FastPhotoMetricDistortion, RandomResizeCropFlip

__all__ = [
    'CamVidDataset',
    'ClassIoUMetric',
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'FastPackSegInputs',
    'FastPhotoMetricDistortion',
    'LoadLabelMap',
    'MobileLRASPPHead',
    'PixelCrossEntropyLoss',
    'RandomResizeCropFlip',
]
