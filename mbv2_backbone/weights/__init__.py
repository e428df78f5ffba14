"""Load pretrained weights from any library, and report what was loaded."""

from .convert import convert
from .load import load_into, load_pretrained
from .origin import Origin
from .outcome import Report
from .preprocessing import Preprocessing, contradiction

__all__ = [
    'Origin',
    'Preprocessing',
    'Report',
    'contradiction',
    'convert',
    'load_into',
    'load_pretrained',
]
