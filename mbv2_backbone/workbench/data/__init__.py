"""Datasets: found in a folder, checked, converted, shown, downloaded."""

from __future__ import annotations

from .conversion import Converted, convert

__all__ = ['Converted', 'convert']
