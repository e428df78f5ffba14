"""Exported models: made by `tools/export.py`, run by `Predictor` with numpy and a runtime alone."""

from .predictor import Prediction, Predictor

__all__ = ['Prediction', 'Predictor']
