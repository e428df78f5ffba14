"""DeepLabV3 for mmseg. Importing this registers the heads."""

from .deeplabv3 import DeepLabV3Head
from .deeplabv3plus import DeepLabV3PlusHead
from .lraspp import MobileLRASPPHead

__all__ = ['DeepLabV3Head', 'DeepLabV3PlusHead', 'MobileLRASPPHead']
