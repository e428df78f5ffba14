"""Warnings in the log of a run."""

from __future__ import annotations

import logging

from mmengine.logging import print_log


def warn(text: str) -> None:
    """Warn through the logger of the run that is under way."""
    print_log(text, logger='current', level=logging.WARNING)
