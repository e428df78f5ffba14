"""Import coremltools without what it logs.

coremltools 9 warns at import of each newer version of torch and scikit-learn and of its parts for
macOS, and shows two progress bars when it converts. It can go when a conversion is silent.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

logging.getLogger('coremltools').setLevel(logging.ERROR)

import coremltools as ct  # noqa: E402
from coremltools.converters.mil.frontend.milproto.load import load as load_program  # noqa: E402
from coremltools.converters.mil.mil.types import nptype_from_builtin  # noqa: E402

__all__ = ['ct', 'load_program', 'nptype_from_builtin', 'quiet']


@contextmanager
def quiet() -> Iterator[None]:
    """Convert without warnings and progress bars."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter('ignore')
        yield
