"""Run code in a new interpreter."""

import os
import subprocess
import sys

from helpers.paths import ROOT

from mbv2_backbone.compat.prepare import FAST_START


def run_python(code, **settings):
    """Run code in a new interpreter, as another program; its assertions and errors fail the test.

    Args:
        code: The program.
        settings: Variables added to the environment.

    Returns:
        Its output.
    """
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    env.pop(FAST_START, None)
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, env=env | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
