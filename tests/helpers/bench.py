"""Configs, arguments and jobs for the tests of the benchmark."""

import os
import signal
from argparse import Namespace

from helpers.paths import config_path

from mbv2_backbone.workbench.configs.read import load_config

SIZE = (64, 64)


def config(name, *options):
    return load_config(config_path(name), list(options) or None)


def arguments(work, name, **kwargs):
    defaults = dict(
        work=work, config=config_path(name), cfg_options=None, peer=None,
        size=SIZE, batch_size=2, threads=1, rounds=2, warmup=0, runtimes=[], exported=[],
        candidates=20, files=2, images=None, peak_memory=False, profile=False, roofline=False,
        keep_freed_memory=False, peer_channels_last=False, amp=None,
    )  # fmt: skip
    return Namespace(**defaults | kwargs)


# A spawned process imports these: it finds helpers, but no test files.
def report_process(job):
    return os.getpid(), job


def die(job):
    os.kill(os.getpid(), signal.SIGKILL)
