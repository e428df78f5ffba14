"""Benchmark: every kind of work, on every task."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bench import arguments, config
from measure.speed import pipelines, prediction
from measure.speed import results as report
from measure.speed.evaluation import evaluation_calls
from measure.speed.exported import EXPORTED_RUNTIMES
from measure.speed.timing import time_in_turn
from measure.speed.work import WORK
from mmengine.registry import DefaultScope

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize(
    ('work', 'name', 'peers'),
    [
        ('backbone', 'ssdlite_mbv2_sample', ['torchvision']),
        ('train', 'deeplabv3_mbv2_sample', ['mmseg', 'torchvision']),
        ('train', 'ssdlite-deeplabv3_mbv2_sample', ['mmdet']),
        ('predict', 'ssdlite_mbv2_sample', ['mmdet', 'torchvision']),
        ('predict', 'deeplabv3_mbv2_sample', ['mmseg', 'torchvision']),
        ('predict', 'ssdlite-deeplabv3_mbv2_sample', ['mmdet']),
        ('data', 'ssdlite_mbv2_coco', ['mmdet']),
        ('data', 'deeplabv3_mbv2_voc12aug', ['mmseg']),
    ],
)
def test_work_on_every_task(work, name, peers):
    (result,) = WORK[work](arguments(work, name, peer=peers))
    text = report.format_result(result)
    rows = result['rows']
    assert rows[0]['name'].startswith('ours')
    assert {row['name'].split(',')[0] for row in rows} == {'ours', *peers}
    assert result['reference'] in [row['name'] for row in rows]
    for row in rows:
        assert 0 < row['milliseconds']['q1'] <= row['milliseconds']['median']
        assert row['name'] in text
        seconds = row['milliseconds']['median'] / 1000
        assert row['images_per_second'] == pytest.approx(2 / seconds)
    reference = next(row for row in rows if row['name'] == result['reference'])
    assert reference['times_as_fast']['median'] == 1
    assert json.loads(json.dumps(result))['versions']['torch'] == torch.__version__
    if work == 'predict' and 'mmdet' in peers:
        assert "mmdet's SSDHead is fixed" in text


def test_data_of_a_joint_config_has_no_peer():
    with pytest.raises(UserError, match='joint config'):
        WORK['data'](arguments('data', 'ssdlite-deeplabv3_mbv2_sample'))


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (dict(batch_size=0), '--batch-size'),
        (dict(rounds=0), '--rounds'),
        (dict(size=(9, 64)), '--size'),
    ],
)
def test_numbers_out_of_range_are_named(options, named):
    with pytest.raises(UserError, match=named):
        WORK['backbone'](arguments('backbone', 'ssdlite_mbv2_sample', **options))


def test_pipelines_of_one_round_get_the_same_random_numbers():
    drawn = {'a': [], 'b': []}
    calls = {
        name: pipelines._over(
            lambda info, name=name: drawn[name].append(np.random.random()), [{}] * 2
        )
        for name in drawn
    }
    time_in_turn(calls, rounds=3, warmup=1)
    assert drawn['a'] == drawn['b']
    assert len(set(drawn['a'])) == 8


def test_the_peers_segmentation_steps_have_our_settings():
    ours = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadLabelMap'),
        dict(
            type='mmseg.RandomResizeCropFlip', scale=(500, 400), crop_size=(65, 65), flip_prob=0.3
        ),
        dict(type='FastPhotoMetricDistortion', hue_delta=9),
        dict(type='PackSegInputs'),
    ]
    assert pipelines.stock_seg_steps(ours) == [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale=(500, 400), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(65, 65), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.3),
        dict(hue_delta=9, type='PhotoMetricDistortion'),
        dict(type='PackSegInputs'),
    ]


def test_files_of_the_config_or_of_a_folder_are_used(sample_dataset, tmp_path):
    cfg = config('ssdlite_mbv2_sample', f'data_root={sample_dataset}/')
    infos = pipelines.read_infos(cfg, 5)
    assert len(infos) == 5
    assert all(Path(info['img_path']).is_file() and info['instances'] is not None for info in infos)
    assert pipelines.read_infos(config('ssdlite_mbv2_sample', f'data_root={tmp_path}/'), 5) is None
    folder = sample_dataset / 'JPEGImages'
    infos, what = pipelines.draw_infos(cfg, str(tmp_path), 3, str(folder))
    assert what.startswith(f'3 JPEG files of {folder}')
    assert {Path(info['img_path']).parent for info in infos} == {folder}
    with pytest.raises(UserError, match='no JPEG files'):
        pipelines.draw_infos(cfg, str(tmp_path), 3, str(sample_dataset / 'annotations'))


def test_exported_files_become_rows(monkeypatch):
    loaded = []

    class Fake:
        def __init__(self, path, *, runtime, threads):
            loaded.append((path, runtime, threads))

        def predict(self, images):
            return [image.copy() for image in images]

    monkeypatch.setattr(prediction, 'Predictor', Fake)
    monkeypatch.setattr(prediction, 'find_spec', lambda name: name != 'executorch')
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    calls = prediction.exported_calls(['x/a.onnx', 'b.xml'], [image], threads=3)
    assert list(calls) == ['a.onnx, onnxruntime', 'a.onnx, openvino', 'b.xml, openvino']
    assert loaded[0] == ('x/a.onnx', 'onnxruntime', 3)
    assert np.array_equal(calls['b.xml, openvino']()[0], image[..., ::-1])
    with pytest.raises(UserError, match=r'c\.pte'):
        prediction.exported_calls(['c.pte'], [image], threads=1)


def test_our_model_is_exported_to_each_runtime_and_finds_the_same():
    has_litert = find_spec('litert_torch') is not None  # make litert
    names = [name for name in EXPORTED_RUNTIMES if has_litert or 'litert' not in name]
    small = ('model.backbone.widen_factor=0.25', 'model.neck.in_channels=(48,144,1280)')
    channels = '(48,144,1280,64,32)'
    small += (f'model.neck.out_channels={channels}', f'model.bbox_head.in_channels={channels}')
    cfg = config('ssdlite_mbv2_sample', *small)
    calls, _ = prediction.prediction_calls(
        cfg, ['torchvision'], detect_machine(), batch_size=2, size=(128, 128), candidates=20,
        runtimes=names,
    )  # fmt: skip
    ours = ['ours, folded', 'ours, eager', *(f'ours, {name}' for name in names)]
    assert list(calls) == [*ours, 'torchvision']
    expected = [len(sample.pred_instances) for sample in calls['ours, eager']()]
    assert min(expected) > 0
    for name in names:
        found = [len(prediction.boxes) for prediction in calls[f'ours, {name}']()]
        if name.endswith('int8'):
            assert len(found) == 2
        else:
            assert found == expected


def test_metrics_of_both_evaluations_agree(tmp_path):
    cfg = config('ssdlite_mbv2_sample')
    calls, _ = evaluation_calls(cfg, tmp_path, num_images=20, detections=10)
    ours, theirs = calls['ours'](), calls['mmdet']()
    assert 0 < theirs['coco/bbox_mAP'] < 1
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6)
    with pytest.raises(UserError, match='COCO metric'):
        evaluation_calls(config('deeplabv3_mbv2_sample'), tmp_path, num_images=1, detections=1)
    assert DefaultScope.get_current_instance().scope_name == 'mmseg'
