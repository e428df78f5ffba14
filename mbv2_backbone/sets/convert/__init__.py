"""Turning data sets with boxes and outlines from one layout into another."""

from .run import Converted, convert

__all__ = ['Converted', 'convert']
