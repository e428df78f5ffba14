"""The joint model's third head: labels, losses, predictions, metric, and the tools."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import images, randomise
from helpers.paths import ROOT, config_path
from mmdet.structures import DetDataSample
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import InstanceData, PixelData

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.joint import JointClassAccuracy, LoadImageLabel
from mbv2_backbone.workbench.checks.before_run import check_classes
from mbv2_backbone.workbench.checks.image_labels import check_image_labels
from mbv2_backbone.workbench.configs.read import datasets_of, load_config, type_name
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.data.show.show import show
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate, train

CONFIG = config_path('ssdlite-deeplabv3-classifier_mbv2_sample')
SPLITS = ('train', 'val', 'test')
CLASSES = ('disc', 'square', 'triangle', 'star')


def box(label, xyxy, **more):
    return dict(bbox=xyxy, bbox_label=label, **more)


@pytest.mark.parametrize(
    ('instances', 'label'),
    [
        ([box(2, [0, 0, 5, 5]), box(1, [3, 3, 30, 9]), box(0, [0, 0, 9, 9])], 1),
        ([box(2, [0, 0, 5, 5]), box(1, [0, 0, 30, 9], ignore_flag=1)], 2),
        ([box(1, [0, 0, 30, 9], ignore_flag=1)], None),
        ([], None),
    ],
    ids=['largest', 'ignored', 'only ignored', 'none'],
)
def test_without_a_list_it_is_the_class_of_the_largest_box(instances, label):
    found = LoadImageLabel().transform(dict(img_path='a.jpg', instances=instances))
    assert found.get('gt_label') == label
    assert ('gt_label' in found) == (label is not None)


def test_a_list_names_the_class_of_each_image(tmp_path):
    (tmp_path / 'day.txt').write_text('a.jpg\tnight\nsub/b.jpg 0\n')
    load = LoadImageLabel(
        ann_file=str(tmp_path / 'day.txt'), img_prefix='images', classes=('day', 'night')
    )
    found = [load.transform(dict(img_path=f'images/{p}')) for p in ('a.jpg', 'sub/b.jpg', 'c.jpg')]
    assert [one.get('gt_label') for one in found] == [1, 0, None]
    same = load.transform(dict(img_path=str(Path.cwd() / 'other' / '..' / 'images/a.jpg')))
    assert same['gt_label'] == 1
    with pytest.raises(UserError, match='does not end in a class'):
        LoadImageLabel(ann_file=load.ann_file, classes=('day',)).transform(dict(img_path='a'))
    with pytest.raises(UserError, match='cannot be read'):
        LoadImageLabel(ann_file=str(tmp_path / 'none')).transform(dict(img_path='a'))


@pytest.fixture(scope='module')
def model():
    return randomise(MODELS.build(load_config(CONFIG).model), seed=5)


def samples(labels):
    found = []
    for label in labels:
        meta = dict(
            img_shape=(96, 96), ori_shape=(96, 96), pad_shape=(96, 96), scale_factor=(1.0, 1.0),
            batch_input_shape=(96, 96),
        )  # fmt: skip
        meta |= {} if label is None else dict(gt_label=label)
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 10, 50, 60]]), labels=torch.tensor([1])
        )
        sample.gt_sem_seg = PixelData(sem_seg=torch.ones(1, 96, 96, dtype=torch.long))
        found.append(sample)
    return found


def test_the_loss_is_that_of_the_images_with_a_class(model):
    model.eval()  # no dropout, no statistics of the batch
    x = images(3, 3, 96, 96)
    losses = model.loss(x, samples([2, None, 0]))
    feats = model.backbone(x)[-1]
    logits = model.cls_head.fc(feats.mean((2, 3)))
    expected = -(logits.log_softmax(1)[[0, 2], [2, 0]]).mean()
    torch.testing.assert_close(losses['image.loss_cls'], expected)
    others = model.loss(x, samples([None] * 3))
    assert others['image.loss_cls'] == 0
    model.zero_grad()
    others['image.loss_cls'].backward()
    assert model.cls_head.fc.weight.grad is not None
    assert not model.cls_head.fc.weight.grad.any()
    for name in losses.keys() - {'image.loss_cls'}:
        torch.testing.assert_close(losses[name], others[name])


@torch.no_grad()
def test_predictions_have_all_three_and_the_first_two_are_as_without(model):
    model.eval()
    x = images(2, 3, 96, 96, seed=1)
    found = model.predict(x, samples([0, None]))
    logits = model._forward(x)[-1]
    for sample, row in zip(found, logits, strict=True):
        torch.testing.assert_close(sample.pred_scores, row.softmax(0))
        assert sample.pred_label == row.argmax()
        assert {'pred_instances', 'pred_sem_seg'} <= {*sample.keys()}
    head, model.cls_head = model.cls_head, None
    try:
        plain = model.predict(x, samples([0, None]))
        assert len(model._forward(x)) == 3
        assert 'image.loss_cls' not in model.loss(x, samples([0, None]))
    finally:
        model.cls_head = head
    for ours, theirs in zip(found, plain, strict=True):
        assert 'pred_scores' not in theirs
        torch.testing.assert_close(ours.pred_instances.bboxes, theirs.pred_instances.bboxes)
        assert torch.equal(ours.pred_sem_seg.sem_seg, theirs.pred_sem_seg.sem_seg)


def test_scores_are_float32_where_the_network_computes_in_bfloat16(model):
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        found = model.predict(torch.randn(2, 3, 96, 96), samples([0, None]))
    assert {sample.pred_scores.dtype for sample in found} == {torch.float32}


def test_the_metric_counts_the_images_with_a_class():
    metric = JointClassAccuracy()
    metric.dataset_meta = dict(classes=('a',), image_classes=('day', 'night'))
    scores = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    rows = [dict(pred_scores=torch.tensor(s), gt_label=k) for s, k in zip(scores, (0, 0, 1),
            strict=True)]  # fmt: skip
    metric.process({}, [*rows, dict(pred_scores=torch.tensor([0.5, 0.5]))])
    expected = {'accuracy/top1': 33.33, 'accuracy/day': 50.0, 'accuracy/night': 0.0}
    assert metric.evaluate(4) == expected
    metric.process({}, [dict(pred_scores=torch.tensor([0.5, 0.5]))])
    assert metric.evaluate(1) == {}


def test_image_classes_set_the_head_the_loader_and_the_metainfo():
    named = 'image_classes=("day","night")'
    with pytest.raises(UserError, match='give it an ann_file, a list of images'):
        load_config(CONFIG, [named])
    lists = [f'{split}_dataloader.dataset.pipeline.1.ann_file=a.txt' for split in SPLITS]
    cfg = load_config(CONFIG, [named, *lists])
    assert [type_name(d) for d in datasets_of(cfg)] == ['CheckedCocoDataset'] * 3
    assert 'metainfo' not in cfg.train_dataloader.dataset.pipeline[1]
    assert cfg.model.cls_head.num_classes == 2
    assert cfg.model.bbox_head.num_classes == 4
    assert {d.metainfo.image_classes for d in datasets_of(cfg)} == {('day', 'night')}
    assert cfg.train_dataloader.dataset.pipeline[1].classes == ('day', 'night')
    assert summarise(cfg).image_classes().names == ('day', 'night')
    assert summarise(load_config(CONFIG)).image_classes().names == CLASSES
    cfg.model.cls_head.num_classes = 3
    with pytest.raises(UserError, match=r'predicts 3 classes.* put one `image_classes'):
        check_classes(cfg, summarise(cfg), ('train',))


def test_without_classes_at_the_top_they_are_those_of_the_boxes():
    cfg = load_config(CONFIG, ['classes=None'])
    for dataset in datasets_of(cfg):
        dataset.metainfo = dict(classes=CLASSES, seg_classes=('background', *CLASSES))
    assert summarise(cfg).image_classes().names == CLASSES
    cfg.model.cls_head.num_classes = 3
    with pytest.raises(UserError, match=r'predicts 3 classes.* has 4 \(disc'):
        check_classes(cfg, summarise(cfg), ('train',))
    cfg.model.pop('cls_head')
    assert summarise(cfg).image_classes().names == ()


def test_a_classifier_that_would_learn_nothing_is_refused(tmp_path):
    cfg = load_config(CONFIG)
    check_image_labels(cfg, summarise(cfg), SPLITS)
    cfg.train_dataloader.dataset.pipeline[-1].meta_keys = ('img_path',)
    check_image_labels(cfg, summarise(cfg), ('val', 'test'))
    with pytest.raises(UserError, match='put gt_label into the meta_keys'):
        check_image_labels(cfg, summarise(cfg), SPLITS)
    (tmp_path / 'labels.txt').write_text('a.jpg disc\n')
    cfg = load_config(CONFIG)
    loader = cfg.train_dataloader.dataset.pipeline[1]
    loader.update(ann_file=str(tmp_path / 'labels.txt'), img_prefix=str(tmp_path))
    with pytest.raises(UserError, match=r'no image of .*labels.txt is there, e.g. .*a.jpg'):
        check_image_labels(cfg, summarise(cfg), ('train',))
    (tmp_path / 'a.jpg').touch()
    check_image_labels(cfg, summarise(cfg), ('train',))
    cfg.model.pop('cls_head')
    loader.ann_file = 'none.txt'
    check_image_labels(cfg, summarise(cfg), ('train',))


@pytest.fixture(scope='module')
def trained(sample_dataset, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('joint')
    options = [
        f'data_root={sample_dataset}/', 'train_dataloader.batch_size=8', 'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    ]  # fmt: skip
    train(CONFIG, work_dir=str(work_dir), cfg_options=options)
    return work_dir, options


def test_one_evaluation_gives_three_metrics_and_a_report(trained, sample_dataset, tmp_path):
    work_dir, options = trained
    metrics = evaluate(
        CONFIG, work_dir / 'epoch_1.pth', work_dir=tmp_path / 'work', report=True,
        show_dir=tmp_path / 'shown', out=tmp_path / 'out.pkl', cfg_options=options,
    )  # fmt: skip
    assert {'coco/bbox_mAP', 'seg/mIoU', 'accuracy/top1'} <= metrics.keys()
    (node,) = datasets_of(load_config(CONFIG, options), ('test',))
    dataset = DATASETS.build(node)
    truth = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        sizes = [(b[2] - b[0]) * (b[3] - b[1]) for b in (x['bbox'] for x in info['instances'])]
        if sizes:
            truth[info['img_path']] = info['instances'][int(np.argmax(sizes))]['bbox_label']
    rows = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    right = [
        truth[row['img_path']] == int(row['pred_label']) for row in rows if row['img_path'] in truth
    ]
    assert metrics['accuracy/top1'] == pytest.approx(100 * np.mean(right), abs=0.01)
    page = (tmp_path / 'work/report/report.html').read_text()
    assert all(word in page for word in ('bbox_mAP', 'mIoU', 'top1'))
    image = cv2.imread(str(next((sample_dataset / 'JPEGImages').glob('val_*.jpg'))))
    drawn = cv2.imread(str(next((tmp_path / 'shown').rglob('*.jpg'))))
    assert drawn.shape[0] > image.shape[0]


def test_predict_writes_rows_of_all_three(trained, sample_dataset, tmp_path):
    work_dir, options = trained
    image = sorted((sample_dataset / 'JPEGImages').glob('val_*.jpg'))[0]
    done = predict(
        CONFIG, work_dir / 'epoch_1.pth', image, out=tmp_path, score_thr=0.01, cfg_options=options
    )
    rows = json.loads(Path(done.predictions).read_text())
    of_image = [row for row in rows if not {'bbox', 'segmentation'} & row.keys()]
    assert sorted(row['category_name'] for row in of_image) == sorted(CLASSES)
    assert any('segmentation' in row for row in rows)
    assert cv2.imread(str(tmp_path / f'{image.stem}.jpg')) is not None


def test_the_sheet_names_the_class_of_each_image(sample_dataset, tmp_path):
    path = tmp_path / 'joint.py'
    path.write_text(f"_base_ = '{CONFIG}'\n")
    options = [f'data_root={sample_dataset}/']
    with_class = show(str(path), str(tmp_path / 'a.png'), num=2, overrides=options)
    assert with_class[0] > 100
    base = str(ROOT / 'configs' / 'ssdlite-deeplabv3_mbv2_sample.py')
    path.write_text(f"_base_ = '{base}'\n")
    show(str(path), str(tmp_path / 'b.png'), num=2, overrides=options)
    assert (tmp_path / 'a.png').read_bytes() != (tmp_path / 'b.png').read_bytes()
