"""A web page on this machine that predicts on the pictures dropped on it."""

from .server import serve

__all__ = ['serve']
