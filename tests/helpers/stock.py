"""Finished training runs, for the tests of the toolboxes' own tools."""

import json
import subprocess
import sys

import torch
from helpers.networks import randomise
from helpers.resume import environment
from mmengine.registry import MODELS

from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.run import evaluate, train

DETECTION = """
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""
SEGMENTATION = """
_base_ = {base!r}
data_root = {data!r}
model = dict(
    backbone=dict(widen_factor=0.25), decode_head=dict(in_channels=80, channels=16))
few = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
train_dataloader = dict(batch_size=8, **few)
val_dataloader = dict(batch_size=4, **few)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4))
"""


class FinishedRun:
    """A training run by our tools, and their evaluation of it.

    Attributes:
        folder: Of the run; for more files, too.
        config: The recorded config.
        checkpoint: The last one of the run.
        metrics: Of the checkpoint, by our tools on the recorded config.
        predictions: Of the same evaluation: a `.pkl` file or a folder of masks.
        image: The first image of the validation split.
    """

    def __init__(self, folder, path, checkpoint, out, image):
        self.folder, self.image = folder, str(image)
        train(str(path), work_dir=str(folder / 'work'))
        self.config = str(folder / 'work' / path.name)
        self.checkpoint = str(folder / 'work' / checkpoint)
        self.predictions = str(folder / out)
        predict_all_classes(self.config, self.checkpoint)
        ours = dict(work_dir=str(folder / 'ours'), out=self.predictions)
        self.metrics = evaluate(self.config, self.checkpoint, **ours)

    def log(self):
        """Return the JSON lines file of the training."""
        return next(self.folder.glob('work/*/vis_data/2*.json'))

    def stock(self, toolbox, name, *args):
        """Run a stock tool; return its output."""
        command = [sys.executable, '-m', 'mbv2_backbone', 'stock', toolbox, name]
        return run([*command, *args], self.folder)

    def metrics_of(self, work_dir):
        """Return the metrics that a stock test wrote."""
        (file,) = (self.folder / work_dir).glob('*/2*.json')
        return json.loads(file.read_text())


def run(command, folder):
    """Run a command that must succeed; return its output."""
    env = dict(environment(), MPLBACKEND='Agg')
    command = list(map(str, command))
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def predict_all_classes(config, checkpoint):
    """Give a segmentor random weights: hardly trained, it predicts a single class."""
    cfg = load_config(config)
    if 'decode_head' in cfg.model:
        model = randomise(MODELS.build(cfg.model), seed=4)
        content = torch.load(checkpoint, weights_only=True)
        content['state_dict'] = model.state_dict()
        torch.save(content, checkpoint)
