"""A detector of width 0.25 that tests train on a small dataset, and the tools as processes."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from helpers.paths import ROOT

NETWORK = """
model = dict(
    backbone=dict(widen_factor=0.25),
    neck=dict(in_channels=(48, 144, 1280), out_channels=(48, 144, 1280, 64, 32)),
    bbox_head=dict(in_channels=(48, 144, 1280, 64, 32)),
)
"""
DATA = """
_base_ = {base!r}
train_dataloader = dict(
    batch_size={batch_size}, num_workers=0, persistent_workers=False,
    dataset=dict(data_root={data!r}))
val_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(data_root={data!r}))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={ann!r})
test_evaluator = val_evaluator
"""


def write_small_config(path, data, more='', batch_size=8):
    """Write a config of the detector on a dataset such as `sample_dataset`; return its path.

    Args:
        path: The file.
        data: Folder of the dataset.
        more: Lines to add, which may override those before them.
        batch_size: For training.
    """
    text = DATA.format(
        base=str(ROOT / 'configs' / 'ssdlite_mbv2_sample.py'),
        data=str(data),
        ann=str(Path(data) / 'annotations/val.json'),
        batch_size=batch_size,
    )
    path.write_text(text + NETWORK + textwrap.dedent(more))
    return path


def tool(name, *args, cwd=None):
    """Run a tool as a user does; return the completed process with its output."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(ROOT / 'tools' / f'{name}.py'), *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
