"""Code in an interpreter of its own."""

import os
import subprocess
import sys

from helpers.paths import ROOT

from mbv2_backbone.compat.prepare import FAST_START


def run_python(code, **settings):
    """Run code in a program of someone else; its assertions and errors fail the test.

    Args:
        code: What is run.
        settings: Added to the environment.

    Returns:
        What it prints.
    """
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    env.pop(FAST_START, None)
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, env=env | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
