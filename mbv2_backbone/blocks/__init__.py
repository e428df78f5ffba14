"""The inverted residual block of MobileNetV2, and the layers that it is made of."""

from .inverted_residual import Expansion, InvertedResidual, conv_factory
from .lean import LeanReLU6, convolve, make_lean

__all__ = ['Expansion', 'InvertedResidual', 'LeanReLU6', 'conv_factory', 'convolve', 'make_lean']
