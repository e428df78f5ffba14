"""The doctor reports each simulated problem with its fix."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.findings import only
from helpers.paths import ROOT
from helpers.small import write_small_config
from mmdet.datasets import BaseDetDataset
from mmengine.config import Config
from PIL import Image

from mbv2_backbone.workbench.checks.config_data import (
    check_boxes,
    check_config_data,
    count_samples,
    judge_broken,
)
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.doctor.examine import examine_config, examine_installation
from mbv2_backbone.workbench.doctor.hardware import (
    MIB,
    GpuFacts,
    check_gpu,
    check_shared_memory,
    check_workers,
)
from mbv2_backbone.workbench.doctor.installation import installed_versions
from mbv2_backbone.workbench.doctor.speed import StepTimes, guess_time


@pytest.mark.parametrize(
    ('facts', 'level', 'said'),
    [
        (GpuFacts(True, '13.2', ('H100',)), 'ok', 'CUDA 13.2 on H100'),
        (GpuFacts(False, '13.2'), 'warning', 'no NVIDIA driver'),
        (GpuFacts(True, None), 'warning', 'pip install --force-reinstall torch'),
        (GpuFacts(True, '13.2'), 'warning', 'nvidia-smi'),
        (GpuFacts(False, None, (), 'npu'), 'warning', 'runs on npu'),
    ],
)
def test_missing_cuda(facts, level, said):
    only(check_gpu(facts), level, said)


def test_loader_workers():
    only(check_workers(1, 16, has_gpu=True), 'warning', 'too few', 'num_workers=4')
    only(check_workers(32, 8, has_gpu=True), 'warning', '32 loader workers on 8 cores')
    only(check_workers(4, 8, has_gpu=True), 'ok')
    only(check_workers(2, 2, has_gpu=True), 'ok')
    only(check_workers(0, 8, has_gpu=False), 'ok')


def test_shared_memory():
    batch = 32 * 3 * 320 * 320
    only(check_shared_memory(64 * MIB, 4, batch), 'error', 'bus error', '--shm-size=')
    only(check_shared_memory(64 * MIB, 0, batch), 'ok')
    only(check_shared_memory(512 * MIB, 4, batch), 'ok', '512 MiB', '112 MiB needed')
    only(check_shared_memory(None, 4, batch), 'ok')


class Dataset:
    dropped_boxes = (('a.xml', (5, 5, 5, 9), 'zero area'), ('b.xml', (1, 2, 0, 3), 'inverted'))


def test_boxes_and_counts():
    only(
        check_boxes('train', Dataset()), 'warning', '2 boxes', '1 zero area', 'b.xml: (1, 2, 0, 3)'
    )
    assert check_boxes('train', object()) == []
    box = dict(bbox=[5.0, 5.0, 5.0, 9.0], bbox_label=0, ignore_flag=0)
    sample = dict(img_path='a.jpg', width=20, height=20, instances=[box])
    stock = BaseDetDataset(lazy_init=True, serialize_data=False)
    stock.data_list, stock._fully_initialized = [sample], True
    only(
        check_boxes('train', stock),
        'error',
        '1 boxes make the loss wrong or NaN',
        'CheckedCocoDataset',
    )
    boxes = [dict(bbox_label=0)] * 3
    samples = [dict(instances=boxes, seg_map_path='a.png'), dict(instances=[])]
    only(count_samples('val', samples), 'ok', '2 images, 1 masks, 3 boxes, 1 images without a box')
    only(count_samples('val', samples[1:]), 'error', '0 boxes')


def test_broken_images():
    broken = {'a.jpg': 'is empty'}
    only(judge_broken('train', {}, 10, 0.05), 'ok')
    only(judge_broken('train', broken, 20, 0.05), 'warning', '1 of 20', 'a.jpg is empty')
    only(judge_broken('train', broken, 19, 0.05), 'error')
    only(judge_broken('val', broken, 1000, 0), 'error')


def test_the_estimated_time():
    times = StepTimes(load=0.02, step=0.03, image_bytes=1, num_images=1000)
    schedule = dict(batch_size=10, max_iters=None, epochs=20)
    text = str(guess_time(times, workers=0, **schedule))
    assert '50 s an epoch of 1000 images, 17 min in all' in text
    assert 'estimated from' in text
    text = str(guess_time(times, workers=4, **schedule))
    assert '30 s an epoch' in text
    assert 'bound by computing' in text
    slow = StepTimes(load=0.4, step=0.03, image_bytes=1, num_images=1000)
    assert 'bound by loading' in str(guess_time(slow, workers=4, **schedule))
    text = str(guess_time(times, workers=4, batch_size=10, max_iters=30_000, epochs=None))
    assert '2.5 h in all' in text


def config(name, data_root, work_dir, *more):
    options = [f'data_root={data_root}/', f'work_dir={work_dir}', *more]
    return load_config(str(ROOT / 'configs' / name), options)


def errors(findings):
    return [finding.what for finding in findings if finding.level == 'error']


def test_missing_data_and_wrong_class_counts(sample_dataset, tmp_path):
    cfg = config('ssdlite_mbv2_sample.py', tmp_path / 'nowhere', tmp_path)
    (what,) = errors(check_config_data(cfg, summarise(cfg)))
    assert f'MISSING {tmp_path}/nowhere' in what
    cfg = config('ssdlite_mbv2_sample.py', sample_dataset, tmp_path)
    cfg.model.bbox_head.num_classes = 7
    (what,) = errors(check_config_data(cfg, summarise(cfg)))
    assert 'predicts 7 classes' in what


def test_masks_out_of_range(sample_dataset, tmp_path):
    """Masks with one value that is not a class."""
    for folder in ('JPEGImages', 'ImageSets'):
        (tmp_path / folder).symlink_to(sample_dataset / folder)
    masks = tmp_path / 'SegmentationClass'
    masks.mkdir()
    for path in (sample_dataset / 'SegmentationClass').glob('*.png'):
        (masks / path.name).write_bytes(path.read_bytes())
    first = sorted(masks.glob('train*.png'))[0]
    labels = np.array(Image.open(first))
    labels[0, 0] = 77
    Image.fromarray(labels).save(first)
    cfg = config('deeplabv3_mbv2_sample.py', tmp_path, tmp_path)
    findings = check_config_data(cfg, summarise(cfg))
    (what,) = errors(findings)
    assert first.name in what
    assert '77 on 1 pixel' in what
    assert any('train: 24 images, 24 masks' in finding.what for finding in findings)


def test_trial_steps_read_colours_as_training_does(sample_dataset, tmp_path):
    """`LoadLabelMap` without a palette takes the dataset's, here and in a training."""
    for folder in ('JPEGImages', 'ImageSets'):
        (tmp_path / folder).symlink_to(sample_dataset / folder)
    (tmp_path / 'SegmentationClass').mkdir()
    for path in (sample_dataset / 'SegmentationClass').glob('*.png'):
        Image.open(path).convert('RGB').save(tmp_path / 'SegmentationClass' / path.name)
    cfg = config('deeplabv3_mbv2_sample.py', tmp_path, tmp_path / 'work')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for transform in loader.dataset.pipeline:
            if transform.type == 'LoadAnnotations':
                transform.type = 'LoadLabelMap'
    cfg.dump(tmp_path / 'colours.py')
    findings = list(examine_config(str(tmp_path / 'colours.py')))
    assert errors(findings) == []
    assert any('estimated from' in finding.what for finding in findings)
    assert not (tmp_path / 'work' / 'broken_images.txt').exists()


def doctor(*args):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(ROOT / 'tools/doctor.py'), *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_the_tool_on_a_sound_config(sample_dataset, tmp_path):
    cfg = Config.fromfile(str(ROOT / 'configs/ssdlite_mbv2_sample.py'))
    path = tmp_path / 'x.json'
    cfg.dump(str(path))
    result = doctor(
        path, '--cfg-options', f'data_root={sample_dataset}/', f'work_dir={tmp_path / "work"}'
    )
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert 'can train: 0 errors' in result.stdout
    assert 'estimated from' in result.stdout
    assert f'torch {installed_versions()["torch"]}' in result.stdout
    assert 'writers of exported files: coremltools' in result.stdout
    assert 'train: 24 images' in result.stdout


def test_the_tool_on_a_faulty_config(tmp_path):
    (tmp_path / 'x.json').write_text(json.dumps(dict(optimizer={})))
    result = doctor(tmp_path / 'x.json')
    assert result.returncode == 1
    assert 'no `model`' in result.stdout
    assert 'cannot train: 1 errors' in result.stdout
    assert 'Traceback' not in result.stderr


def test_a_step_that_fails_is_an_error(sample_dataset, tmp_path):
    options = [
        f'data_root={sample_dataset}/',
        f'work_dir={tmp_path}',
        'model.neck.in_channels=(1,2,3)',
    ]
    findings = list(examine_config(str(ROOT / 'configs/ssdlite_mbv2_sample.py'), options))
    assert findings[-1].level == 'error'
    assert 'a training step fails' in findings[-1].what


def test_a_folder_without_onnxruntime_web_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv('MBV2_BACKBONE_ONNXRUNTIME_WEB', str(tmp_path))
    (warning,) = (
        finding for finding in examine_installation() if 'onnxruntime-web' in finding.what
    )
    only(warning, 'warning', f'{tmp_path} has not all of', 'unset the variable')


def test_a_schedule_that_ends_elsewhere_and_an_epoch_without_a_batch(sample_dataset, tmp_path):
    short = "param_scheduler = [dict(type='CosineAnnealingLR', T_max=9, end=9)]\n"
    path = write_small_config(tmp_path / 'small.py', sample_dataset, short)
    findings = [finding for finding in examine_config(str(path)) if finding.level == 'warning']
    (what,) = (finding.what for finding in findings if 'schedule' in finding.what)
    assert 'param_scheduler.0 (CosineAnnealingLR) ends at 9 of 20 epochs' in what
    options = ['train_dataloader.batch_size=25', 'train_dataloader.drop_last=True']
    (what,) = errors(examine_config(str(path), options))
    assert 'an epoch of 24 training images' in what
