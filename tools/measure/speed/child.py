"""Environment for running a tool as a subprocess."""

from __future__ import annotations

import os
from pathlib import Path


def child_environment(**settings: str) -> dict[str, str]:
    """Return an environment in which a process finds this package and writes each line at once.

    Args:
        settings: Added to it.
    """
    tools = Path(__file__).resolve().parents[2]
    folders = [str(tools.parent), str(tools), os.environ.get('PYTHONPATH')]
    path = os.pathsep.join(filter(None, folders))
    # Whoever starts a command a second time has Python's cached bytecode.
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}
    return {**environment, 'PYTHONPATH': path, 'PYTHONUNBUFFERED': '1', **settings}
