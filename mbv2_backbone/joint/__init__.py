"""Detection, segmentation and classification in one pass. Importing this registers all of it."""

from .image_label import LoadImageLabel
from .metric import JointClassAccuracy, JointIoUMetric
from .model import JointModel

__all__ = ['JointClassAccuracy', 'JointIoUMetric', 'JointModel', 'LoadImageLabel']
