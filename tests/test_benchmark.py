"""The parts of the benchmark: timing, peers, inputs, and every kind of work."""

import json
import os
import re
import signal
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mbv2_backbone.bench import pipelines, prediction, report, scaling, startup, steps
from mbv2_backbone.bench.backbone import build_backbone
from mbv2_backbone.bench.complexity import PARTS, count_model
from mbv2_backbone.bench.evaluation import evaluation_calls
from mbv2_backbone.bench.inputs import random_boxes, training_batch
from mbv2_backbone.bench.memory import memory_rows
from mbv2_backbone.bench.models import (
    build_optimizer,
    build_random,
    class_counts,
    input_size,
    set_candidates,
    set_size,
    settle_batch_norm,
)
from mbv2_backbone.bench.peers import (
    check_peers,
    folded_sequentials,
    mend,
    peer_config,
    stock_config,
    timm_backbone,
    torchvision_backbone,
)
from mbv2_backbone.bench.profile import profile_rows
from mbv2_backbone.bench.runtimes import EXPORTED_RUNTIMES
from mbv2_backbone.bench.steps import StepJob, StepProcess
from mbv2_backbone.bench.timing import quartiles, time_in_turn, times_as_fast
from mbv2_backbone.bench.training import ours_step, peer_step
from mbv2_backbone.bench.work import WORK
from mbv2_backbone.engine.config import load_config
from mbv2_backbone.engine.machine import detect_machine
from mbv2_backbone.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
SIZE = (64, 64)


def config(name, *options):
    return load_config(str(ROOT / 'configs' / f'{name}.py'), list(options) or None)


def arguments(work, name, **kwargs):
    defaults = dict(
        work=work, config=str(ROOT / 'configs' / f'{name}.py'), cfg_options=None, peer=None,
        size=SIZE, batch_size=2, threads=1, rounds=2, warmup=0, runtimes=[], exported=[],
        candidates=20, files=2, images=None, peak_memory=False, profile=False,
        keep_freed_memory=False, peer_channels_last=False, amp=None,
    )  # fmt: skip
    return Namespace(**defaults | kwargs)


def test_calls_take_turns_and_warm_up_is_not_counted():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in 'abc'}
    waits = []
    seconds = time_in_turn(calls, rounds=3, warmup=1, synchronize=lambda: waits.append(1))
    assert ''.join(order) == 'abccbaabccba'
    assert list(seconds) == ['a', 'b', 'c']
    assert {len(values) for values in seconds.values()} == {3}
    assert len(waits) == 2 * len(order)
    order.clear()
    time_in_turn(calls, rounds=2, warmup=0, settle=1)
    assert ''.join(order) == 'aabbccccbbaa'


def test_a_call_is_charged_for_its_own_time():
    seconds = time_in_turn(
        {'slow': lambda: time.sleep(0.02), 'fast': lambda: None}, rounds=3, warmup=0
    )
    assert min(seconds['slow']) >= 0.02 > max(seconds['fast'])
    assert times_as_fast(seconds['fast'], seconds['slow'])['q1'] > 1


@pytest.mark.parametrize('wrong', [dict(calls={}), dict(rounds=0), dict(warmup=-1)])
def test_nothing_to_time_is_refused(wrong):
    with pytest.raises(ValueError, match='rounds'):
        time_in_turn(**dict(calls={'a': int}, rounds=1, warmup=0) | wrong)


def test_quartiles_and_ratios():
    rng = np.random.default_rng(0)
    values = rng.random(41)
    ordered = sorted(values)
    assert quartiles(values) == dict(median=ordered[20], q1=ordered[10], q3=ordered[30])
    other = rng.random(41) + 1
    expected = sorted(b / a for a, b in zip(values, other, strict=True))
    assert times_as_fast(values, other)['median'] == pytest.approx(expected[20])
    assert times_as_fast(values, values) == dict(median=1, q1=1, q3=1)


@pytest.mark.parametrize(
    ('name', 'size', 'params', 'madds'),
    [
        ('ssdlite_mbv2_coco', (320, 320), 4.337, 0.818),
        ('deeplabv3_mbv2_voc12aug', (513, 513), 2.114, 2.826),
        ('ssdlite-deeplabv3_mbv2_sample', (128, 128), None, None),
    ],
)
def test_complexity_of_ours(name, size, params, madds):
    cfg = config(name)
    assert input_size(cfg) == size
    model = build_random(cfg)
    counts = count_model(model, size)
    assert counts['params'] == sum(p.numel() for p in model.parameters())
    for what in ('params', 'madds'):
        assert sum(counts[f'{part} {what}'] for part in PARTS) == counts[what]
    if params:
        assert round(counts['params'] / 1e6, 3) == params
        assert round(counts['madds'] / 1e9, 3) == madds


def test_complexity_of_the_peers_is_what_they_publish():
    theirs = peer_config('mmdet', config('ssdlite_mbv2_coco'), (320, 320))
    counts = count_model(build_random(theirs, 'mmdet'), (320, 320))
    assert round(counts['params'] / 1e6, 3) == 4.229
    assert round(counts['madds'] / 1e9, 3) == 0.774
    theirs = peer_config('mmseg', config('deeplabv3_mbv2_voc12aug'), (513, 513))
    counts = count_model(build_random(theirs, 'mmseg'), (513, 513))
    assert round(counts['params'] / 1e6, 2) == 18.60
    assert round(counts['madds'] / 1e9, 2) == 77.37


def test_folding_torchvisions_backbone_changes_nothing():
    x = torch.randn(2, 3, *SIZE)
    model = torchvision_backbone(0.5)
    settle_batch_norm(model, lambda: model(x))
    with torch.no_grad():
        expected = model(x)
        folded = folded_sequentials(model)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        torch.testing.assert_close(folded(x), expected, rtol=1e-3, atol=2e-3)


def test_settled_batch_norms_have_the_statistics_of_the_input():
    norm = nn.BatchNorm2d(3, momentum=0.01)
    x = torch.randn(4, 3, 8, 8) * 5 + 2
    settle_batch_norm(norm, lambda: norm(x))
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)))
    assert norm.momentum == 0.01
    assert not norm.training


@pytest.mark.parametrize(('background', 'bias'), [(0, True), (4, True)])
def test_candidates_are_as_many_as_asked_for(background, bias):
    x = torch.randn(3, 8, 10, 10)
    convs = [nn.Conv2d(8, 3 * 5, 1, bias=bias), nn.Conv2d(8, 2 * 5, 1, bias=bias)]
    set_candidates(
        convs,
        lambda: [conv(x) for conv in convs],
        num_outputs=5,
        background=background,
        score_thr=0.1,
        count=40,
    )
    found = 0
    with torch.no_grad():
        for conv in convs:
            for cell in conv(x).permute(0, 2, 3, 1).reshape(-1, 5):
                scores = cell.softmax(0).tolist()
                del scores[background]
                found += sum(score > 0.1 for score in scores)
    assert found / 3 == pytest.approx(40, abs=1)


def test_pretrained_weights_are_left_out():
    cfg = config('deeplabv3_mbv2_voc12aug')
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    build_random(cfg)  # would fetch them
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'


def test_class_counts_and_sizes():
    assert class_counts(config('ssdlite_mbv2_coco')) == (80, 0)
    assert class_counts(config('deeplabv3_mbv2_voc12aug')) == (0, 21)
    assert class_counts(config('ssdlite-deeplabv3_mbv2_sample')) == (4, 5)
    cfg = config('deeplabv3_mbv2_voc12aug')
    set_size(cfg, (96, 64))
    assert input_size(cfg) == input_size(cfg, training=True) == (96, 64)
    cfg = stock_config('mmdet', 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    set_size(cfg, (96, 64))
    assert input_size(cfg) == (96, 64)
    assert input_size(cfg, (1, 2)) == (1, 2)


def test_what_has_no_counterpart_is_refused():
    det, seg = config('ssdlite_mbv2_coco'), config('deeplabv3_mbv2_voc12aug')
    for cfg, peer in ((det, 'mmseg'), (seg, 'mmdet'), (det, 'timm')):
        with pytest.raises(UserError, match=f'{peer} has nothing to compare'):
            check_peers(cfg, [peer], ('mmdet', 'mmseg', 'torchvision'), 'train')
    with pytest.raises(UserError, match='not installed'):
        stock_config('mmdet', 'ssd/none.py')


def test_timm_has_the_widths_it_has():
    pytest.importorskip('timm')
    assert len(timm_backbone(0.5)(torch.zeros(1, 3, *SIZE))) == 5
    with pytest.raises(UserError, match='timm has no mobilenetv2_025'):
        timm_backbone(0.25)


def test_mmdets_head_is_mended_and_ours_left_alone():
    cfg = config('ssdlite_mbv2_coco')
    theirs = build_random(peer_config('mmdet', cfg, SIZE), 'mmdet')
    assert len(mend(theirs)) == 1
    assert theirs.bbox_head.loss_cls is None
    assert mend(build_random(cfg)) == []


@pytest.mark.parametrize('task', ['det', 'seg', 'joint'])
def test_drawn_batches_are_what_loaders_hand_over(task):
    kwargs = dict(batch_size=3, size=(40, 64), num_classes=4, num_seg_classes=5, task=task)
    batch, again = training_batch(**kwargs), training_batch(**kwargs)
    assert len(batch['inputs']) == len(batch['data_samples']) == 3
    for image, same, sample in zip(
        batch['inputs'], again['inputs'], batch['data_samples'], strict=True
    ):
        assert (image.shape, image.dtype) == ((3, 40, 64), torch.uint8)
        assert torch.equal(image, same)
        assert image.float().std() > 20
        assert ('gt_instances' in sample, 'gt_sem_seg' in sample) == (task != 'seg', task != 'det')
        if task != 'seg':
            assert int(sample.gt_instances.labels.min()) >= 0
            assert int(sample.gt_instances.labels.max()) < 4


def test_drawn_boxes_lie_in_the_image():
    boxes = random_boxes(np.random.default_rng(0), (48, 64), 500)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] > boxes[:, :2] + 1).all()
    assert (boxes[:, 2] <= 64).all()
    assert (boxes[:, 3] <= 48).all()
    assert random_boxes(np.random.default_rng(0), (48, 64), 0).shape == (0, 4)


@pytest.mark.parametrize('peer', [None, 'mmdet', 'torchvision'])
def test_a_step_at_learning_rate_zero_keeps_the_weights(peer, monkeypatch):
    built = []
    step_of = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        'step',
        lambda self, *args: (built.append(self), step_of(self, *args))[1],
    )
    cfg = config('ssdlite_mbv2_coco')
    make = ours_step if peer is None else lambda *args, **kw: peer_step(peer, *args, **kw)
    step = make(cfg, detect_machine(), batch_size=2, size=SIZE)
    step()
    params = [p for group in built[0].param_groups for p in group['params']]
    before = [p.detach().clone() for p in params]
    step()
    assert len(built) == 2
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))
    moved = [state['momentum_buffer'] for state in built[0].state.values()]
    assert sum(float(buffer.abs().sum()) for buffer in moved) > 0


def step_job(name, **kwargs):
    path = str(ROOT / 'configs' / f'{name}.py')
    return StepJob(path, **dict(batch_size=2, size=SIZE, threads=1) | kwargs)


def test_checkpointing_lowers_the_peak_memory_of_a_step():
    rows = memory_rows(step_job('ssdlite_mbv2_sample', batch_size=8, size=(192, 192)), ())
    step = {row['name']: row['step MiB'] for row in rows}
    assert list(step) == ['ours', 'ours, with_cp']
    assert 0 < step['ours, with_cp'] < 0.9 * step['ours']


def test_a_profile_names_what_takes_the_time():
    rows, notes = profile_rows(step_job('ssdlite_mbv2_sample', keeps_memory=False))
    assert 'aten::convolution_backward' in [row['name'] for row in rows[:3]]
    assert [row['ms'] for row in rows] == sorted((row['ms'] for row in rows), reverse=True)
    assert 'ms without the profiler' in notes[0]


def report_process(job):
    return os.getpid(), job


def die(job):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_has_a_process_of_its_own():
    job = step_job('ssdlite_mbv2_sample', who='mmdet')
    process = StepProcess(job)
    first, again = process.ask(report_process), process.ask(report_process)
    assert first == again
    assert first[0] != os.getpid()
    assert first[1] == job


def test_a_process_that_dies_is_reported():
    with pytest.raises(UserError, match=r'process of mmdet died.*smaller --batch-size than 2'):
        StepProcess(step_job('ssdlite_mbv2_sample', who='mmdet')).ask(die)


def test_only_ours_keeps_freed_memory(monkeypatch):
    kept = []
    monkeypatch.setattr(steps, 'keep_freed_memory', lambda: kept.append(1))
    for wanted, kwargs in ((0, dict(who='mmdet')), (0, dict(keeps_memory=False)), (1, dict())):
        steps.build_step(step_job('ssdlite_mbv2_sample', **kwargs))
        assert len(kept) == wanted


def test_learning_rate_zero_is_for_every_group():
    cfg = config('ssdlite_mbv2_coco')
    optimizer = build_optimizer(build_random(cfg), cfg).optimizer
    assert {group['lr'] for group in optimizer.param_groups} == {0.0}
    assert cfg.optim_wrapper.optimizer.lr > 0


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
        assert "mmdet's SSDHead is mended" in text


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


def test_files_of_the_config_or_of_a_folder_are_used(sample_set, tmp_path):
    cfg = config('ssdlite_mbv2_sample', f'data_root={sample_set}/')
    infos = pipelines.read_infos(cfg, 5)
    assert len(infos) == 5
    assert all(Path(info['img_path']).is_file() and info['instances'] is not None for info in infos)
    assert pipelines.read_infos(config('ssdlite_mbv2_sample', f'data_root={tmp_path}/'), 5) is None
    infos, what = pipelines.draw_infos(cfg, str(tmp_path), 3, str(sample_set))
    assert what.startswith(f'3 JPEG files of {sample_set}')
    assert {Path(info['img_path']).parent for info in infos} == {sample_set / 'JPEGImages'}
    with pytest.raises(UserError, match='no JPEG files'):
        pipelines.draw_infos(cfg, str(tmp_path), 3, str(sample_set / 'annotations'))


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


def test_ours_is_exported_to_each_runtime_and_finds_the_same():
    names = tuple(EXPORTED_RUNTIMES)
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


@pytest.mark.parametrize(('exponent', 'says'), [(1.0, 'time grows as'), (2.0, 'does not grow')])
def test_slope_of_time_over_madds(exponent, says, tmp_path):
    rows = [
        dict(
            series=series,
            name=f'{series} {n}',
            madds=n * 1e8,
            milliseconds=dict(median=n**exponent),
        )
        for series in ('size', 'batch', 'width')
        for n in (1, 2, 5)
    ]
    found = scaling.slopes(rows)
    assert found == pytest.approx(dict(size=exponent, batch=exponent, width=exponent, all=exponent))
    assert says in scaling.verdict(found)
    scaling.plot(rows, str(tmp_path / 'a.png'), 'title')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_scaling_counts_what_it_times():
    cfg = config('ssdlite_mbv2_sample')
    rows = scaling.scaling_rows(
        cfg, detect_machine(), size=SIZE, rounds=1, warmup=0, factors=(1, 1, 2), batches=(2,),
        widths=(0.25,),
    )  # fmt: skip
    assert [row['name'] for row in rows] == ['size 64x64', 'size 128x128', 'batch 2', 'width 0.25']
    madds = [row['madds'] for row in rows]
    assert madds[1] == pytest.approx(4 * madds[0], rel=0.01)
    assert madds[2] == 2 * madds[0]
    assert madds[3] < madds[0]
    own, changed = build_backbone(cfg), build_backbone(cfg, widen_factor=0.25)
    assert own.feature_info[0].channels == 2 * changed.feature_info[0].channels


def test_a_command_is_timed_until_its_line_appears():
    begin = time.perf_counter()
    code = 'import time; print("no"); print("Epoch(train)  [1][1/9]  loss: 3"); time.sleep(60)'
    startup._run_until([sys.executable, '-c', code], startup._FIRST_ITERATION)
    assert time.perf_counter() - begin < 30
    with pytest.raises(UserError, match='boom'):
        startup._run_until([sys.executable, '-c', 'raise SystemExit("boom")'], re.compile('x'))


def test_startup_gives_mmdet_the_same_data(sample_set, tmp_path):
    cfg = config('ssdlite_mbv2_sample', f'data_root={sample_set}/')
    theirs = startup._mmdet_config(cfg, tmp_path)
    theirs.dump(tmp_path / 'theirs.py')
    read = Config.fromfile(tmp_path / 'theirs.py')
    assert read.train_dataloader.dataset.type == 'CocoDataset'
    assert 'dataset' not in read.train_dataloader.dataset
    assert read.train_dataloader.batch_size == cfg.train_dataloader.batch_size
    assert read.model.bbox_head.num_classes == 4
    assert Path(read.val_evaluator.ann_file).is_file()
    with pytest.raises(UserError, match='detection config'):
        startup.startup_calls(
            str(ROOT / 'configs' / 'deeplabv3_mbv2_sample.py'), tmp_path, tmp_path, batch_size=1
        )
