"""Exported models: made by `tools/export.py`, run by `Predictor`, which needs no torch."""

from .predictor import Prediction, Predictor

__all__ = ['Prediction', 'Predictor']
