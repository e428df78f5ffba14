"""Image classification on mmengine alone. Importing this registers model, head and metric."""

from .class_metrics import ClassAccuracy
from .classifier import ImageClassifier
from .classifier_head import ClassifierHead

__all__ = ['ClassAccuracy', 'ClassifierHead', 'ImageClassifier']
