"""Logging the metrics of a training: curves.png, TensorBoard, Weights & Biases, MLflow."""

import os
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.resume import environment, train_command, write_config
from mmengine.config import Config
from mmengine.visualization import TensorboardVisBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.broken_images import RECORD
from mbv2_backbone.workbench.report.curve_hook import CurveHook
from mbv2_backbone.workbench.report.logs import curve, read_scalars
from mbv2_backbone.workbench.train import tracking
from mbv2_backbone.workbench.train.tracking import (
    LateTensorboardVisBackend,
    add_tracking,
    tracking_remark,
)

QUICK = """
train_dataloader['num_workers'], train_dataloader['persistent_workers'] = 0, False
train_cfg = dict(max_epochs=1, val_interval=1)
"""


def run_train(config, work_dir, *options, **variables):
    command = train_command(config, '--work-dir', work_dir, *options)
    environ = dict(environment(), **variables)
    return subprocess.run(
        command, cwd=work_dir, env=environ, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope='module')
def config(sample_dataset, tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('config') / 'small.py', sample_dataset, QUICK)


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    """A work directory after a training with all trackers."""
    work_dir = tmp_path_factory.mktemp('work')
    (work_dir / RECORD).write_text('of an earlier training')
    result = run_train(
        config, work_dir, '--track', *tracking.TRACKERS, WANDB_MODE='offline',
        MLFLOW_TRACKING_URI='', GIT_PYTHON_REFRESH='quiet',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir, result.stdout + result.stderr


@pytest.mark.slow
def test_a_training_leaves_its_curves(trained):
    work_dir, output = trained
    plot = cv2.imread(str(work_dir / 'curves.png'))
    assert plot is not None
    assert plot.std() > 10
    assert 'was not drawn' not in output
    rows = read_scalars(work_dir)
    assert curve(rows, 'loss')[0] == [1, 2, 3]
    assert curve(rows, 'coco/bbox_mAP')[0] == [3]
    assert [row['epoch'] for row in rows if row['is_val']] == [1]


@pytest.mark.slow
def test_a_training_clears_its_record_of_broken_images(trained):
    assert not (trained[0] / RECORD).exists()


@pytest.mark.slow
def test_tensorboard_reads_the_metrics(trained):
    work_dir, _ = trained
    events = EventAccumulator(str(next(work_dir.glob('*/vis_data'))))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars('loss')]
    steps, values = curve(read_scalars(work_dir), 'loss')
    assert [step for step, _ in losses] == steps
    assert [value for _, value in losses] == pytest.approx(values)
    assert len(events.Scalars('coco/bbox_mAP')) == 1
    assert 'config/text_summary' in events.Tags()['tensors']


@pytest.mark.slow
def test_wandb_writes_its_run(trained):
    work_dir, _ = trained
    (run,) = work_dir.glob('*/vis_data/wandb/offline-run-*')
    (log,) = run.glob('*.wandb')
    content = log.read_bytes()
    assert b'loss_bbox' in content
    assert b'mbv2_backbone' in content


@pytest.mark.slow
def test_mlflow_has_the_metrics(trained):
    work_dir, _ = trained
    with sqlite3.connect(work_dir / 'mlflow' / 'mlflow.db') as store:
        rows = store.execute(
            "select step, value from metrics where key = 'loss' order by step"
        ).fetchall()
        states = store.execute('select status, name from runs').fetchall()
    steps, values = curve(read_scalars(work_dir), 'loss')
    assert [step for step, _ in rows] == steps
    assert [value for _, value in rows] == pytest.approx(values)
    assert states == [('FINISHED', work_dir.name)]
    assert not (work_dir / 'mlruns').exists()


def test_a_missing_tracker_is_reported_before_training(config, tmp_path):
    stub = tmp_path / 'stub'
    stub.mkdir()
    (stub / 'sitecustomize.py').write_text(
        'import importlib.util as u\nfind = u.find_spec\n'
        "u.find_spec = lambda name, *a: None if name == 'wandb' else find(name, *a)\n"
    )
    path = f'{stub}{os.pathsep}{environment()["PYTHONPATH"]}'
    result = run_train(config, tmp_path, '--track', 'wandb', PYTHONPATH=path)
    assert result.returncode == 2
    assert 'pip install wandb' in result.stderr
    assert not list(tmp_path.glob('*/vis_data'))


def test_backends_are_added_once(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, 'find_spec', lambda _: True)
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    stock = dict(type='TensorboardVisBackend')
    cfg = Config(dict(work_dir=str(tmp_path), visualizer=dict(vis_backends=[stock])))
    for _ in range(2):
        cfg = add_tracking(['mlflow', 'mlflow']).change(cfg)
        assert tracking_remark(cfg.visualizer) == ''
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['TensorboardVisBackend', 'MLflowVisBackend']
    by_class = Config(dict(work_dir=str(tmp_path), visualizer=dict(vis_backends=[])))
    by_class.visualizer.vis_backends = [dict(type=TensorboardVisBackend)]
    by_class = add_tracking().change(by_class)
    assert by_class.visualizer.vis_backends == [dict(type=TensorboardVisBackend)]
    cfg = Config(dict(work_dir=str(tmp_path)))
    cfg = add_tracking().change(cfg)
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'LateTensorboardVisBackend']
    with pytest.raises(UserError, match='wandb and mlflow, got aim'):
        add_tracking(['aim']).change(cfg)


def test_without_tensorboard_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, 'find_spec', lambda _: None)
    cfg = Config(dict(work_dir=str(tmp_path)))
    cfg = add_tracking().change(cfg)
    assert 'pip install tensorboard' in tracking_remark(cfg.visualizer)
    assert [b['type'] for b in cfg.visualizer.vis_backends] == ['LocalVisBackend']


def test_the_server_of_the_environment_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, 'find_spec', lambda _: True)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'https://example.org')
    cfg = Config(dict(work_dir=str(tmp_path)))
    cfg = add_tracking(['mlflow']).change(cfg)
    assert cfg.visualizer.vis_backends[-1].tracking_uri == 'https://example.org'
    assert not (tmp_path / 'mlflow').exists()


def test_a_plot_that_cannot_be_drawn_is_a_warning(monkeypatch, tmp_path):
    warnings = []
    run = SimpleNamespace(work_dir=str(tmp_path), logger=SimpleNamespace(warning=warnings.append))

    def fail(_):
        raise ValueError('no font')

    monkeypatch.setattr('mbv2_backbone.workbench.report.logs.read_scalars', fail)
    CurveHook().after_train(run)
    assert warnings == ['curves.png was not drawn: ValueError: no font']


@pytest.mark.parametrize('error', [ImportError, TypeError])
def test_a_broken_tensorboard_is_one_warning(error, monkeypatch, tmp_path, log):
    tries = []

    def fail(_):
        tries.append(1)
        raise error('it is of another age')

    monkeypatch.setattr(TensorboardVisBackend, '_init_env', fail)
    backend = LateTensorboardVisBackend(str(tmp_path))
    backend.add_config(Config(dict(a=1)))
    for i in range(3):
        backend.add_scalars(dict(loss=1.0), step=i)
    backend.add_image('image', np.zeros((4, 4, 3), np.uint8))
    backend.close()
    assert tries == [1]
    (said,) = log
    assert 'LateTensorboardVisBackend' in said
    assert f'{error.__name__}: it is of another age' in said


def test_a_tensorboard_that_cannot_be_closed_is_a_warning(tmp_path, log):
    backend = LateTensorboardVisBackend(str(tmp_path))
    backend._tensorboard = None
    backend.close()
    assert len(log) == 1


def test_tensorboard_is_loaded_with_the_first_metrics(tmp_path):
    code = f"""
import sys
from mmengine.config import Config
from mmengine.visualization import TensorboardVisBackend
from mbv2_backbone.workbench import run
from mbv2_backbone.workbench.train.tracking import LateTensorboardVisBackend, tracking_remark
backend = LateTensorboardVisBackend({str(tmp_path)!r})
backend.add_config(Config(dict(a=1)))
heavy = ('tensorboard', 'torch.utils.tensorboard', 'matplotlib.pyplot')
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, loaded
backend.add_scalars(dict(loss=1.0), step=1)
assert 'tensorboard' in sys.modules
backend.close()
"""
    subprocess.run([sys.executable, '-c', code], env=environment(), check=True, timeout=300)
    assert list(tmp_path.glob('events.*'))
