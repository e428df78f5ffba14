"""The baseline configs train on equal terms with ours, and their models train and evaluate."""

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from measure.speed.complexity import count_model
from measure.speed.models import input_size
from measure.speed.peers import torchvision_detector
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

from mbv2_backbone.workbench.configs.read import load_config, walk
from mbv2_backbone.workbench.report.logs import read_scalars
from mbv2_backbone.workbench.run import train

BASELINES = ROOT / 'configs' / 'baselines'
DETECTORS = ('ssdlite_mmdet_bccd', 'ssdlite_torchvision_bccd')
SMALL = """
_base_ = {base!r}
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
"""
SMALL_DETECTION = """
classes = ('disc', 'square', 'triangle')
train_cfg = dict(max_epochs=1)
"""
SMALL_SEGMENTATION = """
model = dict(data_preprocessor=dict(size=(64, 96), test_cfg=dict(size=(64, 96))))
train_cfg = dict(max_iters=2, val_interval=2)
"""


def load(name, options=()):
    return load_config(str(BASELINES / f'{name}.py'), list(options))


def terms(cfg):
    """Return the settings that all compared configs must share."""
    data = cfg.train_dataloader.dataset
    data = data.get('dataset', data)
    steps = [step for split in (data, cfg.val_dataloader.dataset) for step in walk(split.pipeline)]
    return dict(
        train_cfg={key: cfg.train_cfg.get(key) for key in ('max_epochs', 'max_iters')},
        times=cfg.train_dataloader.dataset.get('times'),
        batch_size=cfg.train_dataloader.batch_size,
        scales={tuple(step['scale']) for step in steps if step['type'] == 'Resize'},
        classes=tuple(cfg.classes),
        files=[
            (node.type, node.data_root, node.get('ann_file'), dict(node.data_prefix))
            for node in (data, cfg.val_dataloader.dataset)
        ],
        evaluator={k: v for k, v in cfg.val_evaluator.items() if k != '_scope_'},
        load_from=cfg.get('load_from'),
    )


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors_train_on_equal_terms(name):
    ours = terms(load_config(str(ROOT / 'configs' / 'ssdlite_mbv2_bccd.py')))
    theirs = terms(load(name))
    assert theirs == ours
    assert theirs['scales'] == {(320, 320)}
    assert theirs['train_cfg']['max_epochs'] * theirs['times'] == 40
    assert input_size(load(name)) == (320, 320)
    assert not any('EMA' in hook['type'] for hook in load(name).custom_hooks)


def test_the_segmentor_trains_on_equal_terms():
    ours = load_config(str(ROOT / 'configs' / 'deeplabv3_mbv2_camvid.py'))
    theirs = load('deeplabv3_mmseg_camvid')
    expected, found = terms(ours), terms(theirs)
    for what in (expected, found):
        what.pop('scales')  # ours pads to 16 k + 1 pixels and resizes nothing
    assert found == expected
    assert input_size(theirs) == (360, 480)
    assert theirs.param_scheduler[-1].end == theirs.train_cfg.max_iters
    assert 'SyncBN' not in str(theirs.model)


def test_nothing_starts_from_other_weights():
    paths = [p for p in sorted(BASELINES.glob('*.py')) if not p.stem.endswith('_pretrained')]
    assert len(paths) == 3
    for path in paths:
        text = str(load(path.stem).model.to_dict())
        assert 'Pretrained' not in text
        assert load(path.stem).model.get('pretrained') is None


def test_pretrained_runs_differ_in_their_weights_alone():
    ablations = ROOT / 'configs' / 'ablations'
    pairs = {
        BASELINES / 'ssdlite_mmdet_bccd_pretrained.py': BASELINES / 'ssdlite_mmdet_bccd.py',
        ablations / 'ssdlite_bccd_pretrained.py': ROOT / 'configs' / 'ssdlite_mbv2_bccd_plus.py',
    }
    weights = []
    for pretrained, scratch in pairs.items():
        cfg, plain = (load_config(str(path)).to_dict() for path in (pretrained, scratch))
        weights.append(cfg['model']['backbone'].pop('init_cfg'))
        plain['model']['backbone'].pop('init_cfg', None)
        assert cfg == plain | dict(work_dir=cfg['work_dir'])
    assert weights[0] == weights[1]
    assert weights[0]['type'] == 'Pretrained'


def test_the_options_in_the_comments_work():
    text = (BASELINES / 'ssdlite_torchvision_bccd.py').read_text()
    options = [word for word in text.split('_base_ =')[0].split() if word.startswith('optim_')]
    assert len(options) == 4
    optimizer = load('ssdlite_torchvision_bccd', options).optim_wrapper.optimizer
    assert optimizer == dict(type='AdamW', lr=0.002, weight_decay=0.05)
    text = (BASELINES / 'deeplabv3_mmseg_camvid.py').read_text()
    options = [word for word in text.split('_base_ =')[0].split() if word.endswith('0')]
    cfg = load('deeplabv3_mmseg_camvid', [word for word in options if '=' in word])
    assert (cfg.train_cfg.max_iters, cfg.param_scheduler[0].end) == (400, 400)


def test_the_models_are_those_of_the_packages():
    cfg = load('ssdlite_torchvision_bccd')
    model = MODELS.build(cfg.model)
    theirs = torchvision_detector(3, (320, 320))
    expected = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in model.network.state_dict().items()} == expected
    counts = count_model(model, (320, 320))
    assert counts['params'] == sum(p.numel() for p in theirs.parameters())
    assert 0.3e9 < counts['madds'] < 0.6e9
    assert load('ssdlite_mmdet_bccd').model.backbone.type == 'MobileNetV2'  # mmdet's


def batch(size, seed):
    """Return two images with boxes and one without, RGB from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for count in (2, 0, 3):
        corner = torch.rand(count, 2, generator=generator) * 40
        sides = 8 + torch.rand(count, 2, generator=generator) * 40
        labels = torch.randint(0, 3, (count,), generator=generator)
        truth = InstanceData(bboxes=torch.cat([corner, corner + sides], 1), labels=labels)
        metainfo = dict(img_shape=size, ori_shape=(48, 192), scale_factor=(0.5, 2.0))
        samples.append(DetDataSample(metainfo=metainfo, gt_instances=truth))
    return torch.rand(3, 3, *size, generator=generator), samples


def test_the_wrapped_losses_are_torchvisions():
    model = MODELS.build(dict(load('ssdlite_torchvision_bccd').model, size=(96, 96)))
    for seed in range(2):
        images, samples = batch((96, 96), seed)
        targets = [
            dict(boxes=s.gt_instances.bboxes, labels=s.gt_instances.labels + 1) for s in samples
        ]
        model.network.train()
        for module in model.network.modules():  # so that both calls see the same statistics
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.0
        found = model(images, samples, mode='loss')
        expected = model.network([*images], targets)
        assert found.keys() == {'loss_bbox_regression', 'loss_classification'}
        for key, value in expected.items():
            torch.testing.assert_close(found[f'loss_{key}'], value)
            assert value > 0


def test_the_wrapped_boxes_are_torchvisions_in_the_original_image():
    model = MODELS.build(dict(load('ssdlite_torchvision_bccd').model, size=(96, 96))).eval()
    images, samples = batch((96, 96), 5)
    with torch.no_grad():
        expected = model.network([*images])
        found = model(images, samples, mode='predict')
        unscaled = model.predict(images, [s.clone() for s in samples], rescale=False)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(theirs['boxes']) > 10
        boxes = theirs['boxes'] / torch.tensor([0.5, 2.0, 0.5, 2.0])
        torch.testing.assert_close(ours.pred_instances.bboxes, boxes)
        assert torch.equal(ours.pred_instances.labels, theirs['labels'] - 1)
        assert torch.equal(ours.pred_instances.scores, theirs['scores'])
    for ours, theirs in zip(unscaled, expected, strict=True):
        assert torch.equal(ours.pred_instances.bboxes, theirs['boxes'])


def train_small(folder, name, more, options):
    """Train a baseline for two iterations and evaluate it; returns the rows of its log."""
    path = folder / f'{name}.py'
    path.write_text(SMALL.format(base=str(BASELINES / f'{name}.py')) + more)
    train(str(path), work_dir=str(folder / 'work'), cfg_options=options)
    return read_scalars(folder / 'work')


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_trains_and_is_evaluated(name, tmp_path, sample_dataset):
    options = [
        f'data_root={sample_dataset}/',
        'train_dataloader.dataset.times=1',
        'train_dataloader.dataset.dataset.indices=4',
        'train_dataloader.dataset.dataset.pipeline.4.scale=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    ]
    if name == 'ssdlite_torchvision_bccd':
        options.append('model.size=(96,96)')
    rows = train_small(tmp_path, name, SMALL_DETECTION, options)
    steps = [row for row in rows if not row['is_val']]
    assert [row['iter'] for row in steps] == [1, 2]
    assert all(np.isfinite(row['loss']) and row['loss'] > 0 for row in steps)
    assert {'coco/bbox_mAP', 'coco/disc_precision', 'coco/disc_50_precision'} <= rows[-1].keys()


def test_the_segmentor_trains_and_is_evaluated(tmp_path):
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind, shape, end in ((split, (64, 96, 3), 256), (f'{split}annot', (64, 96), 12)):
            (tmp_path / 'data' / kind).mkdir(parents=True)
            for i in range(4):
                image = rng.integers(0, end, shape).astype(np.uint8)
                cv2.imwrite(str(tmp_path / 'data' / kind / f'{i}.png'), image)
    options = [
        f'data_root={tmp_path}/data/',
        'train_dataloader.dataset.pipeline.2.scale=(96,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,64)',
    ]
    rows = train_small(tmp_path, 'deeplabv3_mmseg_camvid', SMALL_SEGMENTATION, options)
    assert [row['iter'] for row in rows if not row['is_val']] == [1, 2]
    assert rows[-1]['mIoU'] >= 0
    assert 'IoU/pole' in rows[-1]
