"""Code in an interpreter of its own."""

import os
import subprocess
import sys

from helpers.paths import ROOT


def run_python(code):
    """Run code in a fresh interpreter; its assertions and errors fail the test."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
