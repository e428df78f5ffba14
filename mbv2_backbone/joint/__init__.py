"""Detection and segmentation in one pass. Importing this registers the model and its metric."""

from .metric import JointIoUMetric
from .model import JointModel

__all__ = ['JointIoUMetric', 'JointModel']
