"""Turning data sets with boxes and outlines from one layout into another."""

from .run import LAYOUTS, Converted, convert

__all__ = ['LAYOUTS', 'Converted', 'convert']
