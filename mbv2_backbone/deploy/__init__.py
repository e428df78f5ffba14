"""Run exported models with `Predictor`; needs no torch."""

from .predictor import Prediction, Predictor

__all__ = ['Prediction', 'Predictor']
