"""A local web page that predicts on the images dropped on it."""

from .server import serve

__all__ = ['serve']
