"""Image classification on mmengine alone. Importing this registers model, data and metric."""

from ..annotations.loading import LoadImageAsAnnotated
from .class_folders import ClassFolderDataset, ImageNetFolderDataset
from .class_metrics import ClassAccuracy
from .class_tta import ClassTTAModel
from .class_views import (
    CentreView,
    ColourJitter,
    ImageFromArray,
    PackClassInputs,
    RandomResizedCrop,
)
from .classifier import ImageClassifier
from .classifier_head import ClassifierHead

__all__ = [
    'CentreView',
    'ClassAccuracy',
    'ClassFolderDataset',
    'ClassTTAModel',
    'ClassifierHead',
    'ColourJitter',
    'ImageClassifier',
    'ImageFromArray',
    'ImageNetFolderDataset',
    'LoadImageAsAnnotated',
    'PackClassInputs',
    'RandomResizedCrop',
]
