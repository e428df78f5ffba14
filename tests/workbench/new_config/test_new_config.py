"""A generated config trains unchanged, and its choices fit the dataset."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fault import smooth_pixels
from helpers.own_dataset import CLASSES, write_own_dataset
from helpers.small import tool
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, PARAM_SCHEDULERS
from PIL import Image

from mbv2_backbone.workbench.configs.read import datasets_of, load_config
from mbv2_backbone.workbench.data.records import Record
from mbv2_backbone.workbench.new_config.code import Name, assign
from mbv2_backbone.workbench.new_config.fitting import (
    det_size,
    padded,
    plan_class_weights,
    plan_priors,
    plan_schedule,
    seg_size,
)
from mbv2_backbone.workbench.new_config.parts import epoch_schedule, iter_schedule
from mbv2_backbone.workbench.new_config.write import Choices, write_config

pytestmark = pytest.mark.usefixtures('no_network')


@pytest.mark.parametrize(
    ('task', 'layout', 'metric'),
    [
        ('det', 'coco', 'coco/bbox_mAP'),
        pytest.param('det', 'voc', 'coco/bbox_mAP', marks=pytest.mark.slow),
        pytest.param('seg', 'masks', 'mIoU', marks=pytest.mark.slow),
        ('both', 'coco', 'seg/mIoU'),
    ],
)
def test_a_generated_config_trains_unchanged(task, layout, metric, sample_dataset, tmp_path):
    out = tmp_path / 'my configs' / 'mine.py'
    options = ('--layout', layout, '--width', 0.25, '--epochs', 2, '--out', out)
    result = tool('new_config', '--data', sample_dataset, '--task', task, *options)
    assert result.returncode == 0, result.stderr[-2000:]
    train, test, predict = result.stdout.strip().splitlines()[-3:]
    assert train == f'python tools/train.py {out}'

    before = out.read_text()
    result = tool('train', out, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert out.read_text() == before
    checkpoint = test.split()[-1]
    assert predict.split()[-2] == checkpoint
    assert (tmp_path / checkpoint).is_file()
    lines = (tmp_path / 'work_dirs/mine').glob('*/vis_data/scalars.json')
    scalars = [json.loads(line) for path in lines for line in path.read_text().splitlines()]
    assert any(metric in line for line in scalars)
    assert np.isfinite([line['loss'] for line in scalars if 'loss' in line]).all()


def build(cfg):
    """Build everything in a config that needs the data or the network."""
    model = MODELS.build(cfg.model)
    loaders = [cfg[f'{split}_dataloader'].dataset for split in ('train', 'val', 'test')]
    return model, [DATASETS.build(dataset) for dataset in loaders]


def test_any_names_and_no_split(tmp_path):
    root = tmp_path / 'Mes données'
    write_own_dataset(root)
    out = tmp_path / 'deep' / 'er' / 'x.py'
    new = write_config(str(root), 'det', out=str(out), choices=Choices(width=0.35))
    assert [path.name for path in new.split_files] == ['train.json', 'val.json']
    cfg = load_config(str(out))
    assert tuple(cfg.classes) == CLASSES
    assert cfg.model.bbox_head.num_classes == 2
    assert cfg.model.backbone.widen_factor == 0.35
    _, (train, val, test) = build(cfg)
    names = [
        {Path(d.get_data_info(i)['img_path']).stem for i in range(len(d))} for d in (train, val)
    ]
    assert names[0] | names[1] == set('abcdefgh')
    assert not names[0] & names[1]
    assert len(test) == len(val)
    assert train[0]['inputs'].shape[1:] == (96, 96)


def test_a_joint_model_weights_pixels_as_a_segmentor_does(sample_dataset, tmp_path):
    found = []
    for task in ('seg', 'both'):
        out = tmp_path / f'{task}.py'
        write_config(str(sample_dataset), task, out=str(out), choices=Choices(width=0.25, size=64))
        found.append(Config.fromfile(out).model.decode_head.loss_decode.class_weight)
    assert found[0] == found[1]
    assert 0 < min(found[0]) < 1 < max(found[0])


def test_void_and_colours_of_masks(tmp_path):
    root = tmp_path / 'dataset'
    for split in ('train', 'val'):
        for folder in ('images', 'masks'):
            (root / folder / split).mkdir(parents=True)
        for i in range(2):
            image = smooth_pixels(80, 60, seed=i + 2 * (split == 'val'))
            Image.fromarray(image).save(root / f'images/{split}/{i}.png')
            mask = np.zeros((60, 80, 3), np.uint8)
            mask[:30] = (10, 20, 30)
            mask[:5] = (1, 1, 1)
            Image.fromarray(mask).save(root / f'masks/{split}/{i}.png')
    names = tmp_path / 'names.txt'
    names.write_text('road 0 0 0\nblue sky 10 20 30\nvoid 1 1 1\n')
    out = tmp_path / 'x.py'
    write_config(str(root), 'seg', out=str(out), choices=Choices(width=0.25, class_file=str(names)))
    cfg = load_config(str(out))
    assert tuple(cfg.classes) == ('road', 'blue sky')
    # 30 of 55 rows are road, 25 sky; the 5 of void do not count.
    shares = 30 / 55, 25 / 55
    total = sum(share**0.5 for share in shares)
    weights = cfg.model.decode_head.loss_decode.class_weight
    assert weights == pytest.approx([share**-0.5 / total for share in shares], abs=0.006)
    assert cfg.crop_size == (65, 81)
    from mbv2_backbone.workbench.configs.palettes import fill_palettes

    cfg = fill_palettes().change(cfg)
    dataset = datasets_of(cfg, ('val',))[0]
    labels = DATASETS.build(dataset)[0]['data_samples'].gt_sem_seg.data
    assert [set(labels[0, row].tolist()) for row in (0, 10, 40)] == [{255}, {1}, {0}]


@pytest.mark.parametrize(
    ('shares', 'expected'),
    [
        ((0.25,) * 4, (1.0,) * 4),
        ((0.64, 0.36), (0.89, 1.19)),
        ((0.64, 0.0, 0.36), (0.89, 1.0, 1.19)),
        ((1 - 1e-6, 1e-6), (1.0, 10.0)),
        ((0.0, 0.0), (1.0, 1.0)),
    ],
)
def test_weights_of_classes(shares, expected):
    assert plan_class_weights(shares) == expected


def test_code():
    value = {'a': (1,), 'b': [Name('x'), "O'Neil"], '': Name('rest')}
    assert assign('d', value) == 'd = dict(a=(1,), b=[x, "O\'Neil"], **rest)\n'
    lines = assign('d', dict(first='x' * 50, second='é' * 50)).splitlines()
    assert lines == ['d = dict(', f"    first='{'x' * 50}',", f"    second='{'é' * 50}',", ')']


@pytest.mark.parametrize('num_images', [1, 2, 7, 24, 205, 5000, 118_000])
def test_schedules(num_images):
    plan = plan_schedule(num_images, max_batch=16)
    steps = num_images * plan.repeat // plan.batch_size or 1
    assert plan.max_iters == plan.epochs * steps
    assert 2 <= plan.batch_size <= max(2, min(16, num_images // 2))
    assert 20 <= plan.epochs * plan.repeat <= 72
    assert steps >= 49 or plan.epochs == 1
    assert plan.warmup == 0 if plan.max_iters < 40 else 2 <= plan.warmup <= plan.max_iters // 20
    assert plan.lr == pytest.approx(0.002 * plan.batch_size / 16)
    for passes in (1, 3, 5, 6, 7, 8, 10, 97):
        asked = plan_schedule(num_images, max_batch=16, passes=passes)
        assert asked.epochs * asked.repeat == passes


@pytest.mark.parametrize(
    ('num_images', 'batch', 'passes'), [(24, 4, 40), (205, 4, 40), (1000, 4, 12), (8000, 16, 12)]
)
def test_trained_weights_get_fewer_passes_in_small_batches(num_images, batch, passes):
    options = dict(max_batch=16, is_trained=True, min_steps=2000)
    plan = plan_schedule(num_images, **options)
    assert (plan.batch_size, plan.lr) == (batch, 0.002)
    assert plan.epochs * plan.repeat == pytest.approx(passes, rel=0.1)
    assert plan.max_iters >= min(2000, num_images * 40 // 4 - 100)
    asked = plan_schedule(num_images, passes=7, **options)
    assert asked.epochs * asked.repeat == 7


def test_a_batch_is_only_reduced_for_a_number_of_steps():
    plan = plan_schedule(205, max_batch=16, is_trained=True)
    assert (plan.batch_size, plan.epochs * plan.repeat) == (16, 40)


@pytest.mark.parametrize(('num_images', 'passes'), [(3, 1), (3, 4), (3, 20), (205, 60)])
@pytest.mark.parametrize('settings_of', [epoch_schedule, iter_schedule])
def test_the_learning_rate_rises_to_its_maximum_and_falls(settings_of, num_images, passes):
    plan = plan_schedule(num_images, max_batch=16, passes=passes)
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=plan.lr)
    schedulers = []
    for settings in settings_of(plan, 'metric')['param_scheduler']:
        if settings.pop('convert_to_iter_based', False):
            settings |= dict(by_epoch=False, end=plan.max_iters, T_max=plan.max_iters)
        schedulers.append(PARAM_SCHEDULERS.build(dict(settings, optimizer=optimizer)))
    rates = []
    for _ in range(plan.max_iters):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) > 0.9 * plan.lr
    assert plan.max_iters < 10 or rates[-1] < 0.2 * plan.lr


def test_input_sizes():
    large, tiny = np.full((5, 2), 640), np.full((5, 2), 90)
    big_boxes, small_boxes = np.full((9, 2), 0.3), np.full((9, 2), 0.03)
    assert det_size(large, big_boxes) == 320
    assert det_size(large, small_boxes) == 512
    assert det_size(tiny, small_boxes) == 96
    assert det_size(large, np.zeros((0, 2))) == 320
    assert seg_size(np.array([(480, 360)] * 3)) == (480, 360)
    assert seg_size(np.array([(2048, 1024)] * 3)) == (512, 256)
    assert seg_size(np.array([(480, 360), (360, 480)])) == (480, 480)
    assert seg_size(np.array([(480, 360)]), 240) == (240, 180)
    assert [padded(side) for side in (1, 16, 17, 18, 360)] == [1, 17, 17, 33, 369]


def records(side, count=200):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (count, 2)) * (320 - side)
    return [
        Record(Path('a.jpg'), (320, 320), boxes=((x, y, x + side, y + side),), labels=(0,),
               is_ignored=(False,))
        for x, y in corners
    ]  # fmt: skip


def test_priors_fit_small_and_large_boxes():
    small, large = plan_priors(records(22), 320), plan_priors(records(120), 320)
    assert min(small.recall, large.recall) > 0.95
    assert small.default_recall < 0.5
    assert len(small.shapes) == len(large.shapes) == 5
