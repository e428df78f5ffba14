"""Every workaround for other packages' code, each with its reason and when it can go."""

from .prepare import end_joined_process

__all__ = ['end_joined_process']
