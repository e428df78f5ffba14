"""SSDLite for mmdet. Importing this registers the head, the priors and the datasets."""

from .datasets import CheckedCocoDataset, CheckedVOCDataset
from .head import SSDLiteHead
from .priors import SSDLitePriorGenerator

__all__ = ['CheckedCocoDataset', 'CheckedVOCDataset', 'SSDLiteHead', 'SSDLitePriorGenerator']
