"""Test-time augmentation against the same views made and merged by hand."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import randomise
from helpers.paths import ROOT
from helpers.small import tool, write_small_config
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from torchvision.ops import box_iou

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.tta_config import augmented, use_tta
from mbv2_backbone.workbench.predict.fold import folded_for
from mbv2_backbone.workbench.run import evaluate

SCALES = (0.75, 1.0, 1.5)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def build(path, options, checkpoint):
    """Build a config's model with random weights, and save them."""
    cfg = load_config(str(path), options)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    model = randomise(MODELS.build(cfg.model), seed=4).eval()
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return model


@pytest.fixture(scope='module')
def seg(sample_dataset, tmp_path_factory):
    """A segmentation config, its overrides, a checkpoint and its model."""
    checkpoint = tmp_path_factory.mktemp('seg') / 'seg.pth'
    config = ROOT / 'configs' / 'deeplabv3_mbv2_sample.py'
    options = [
        f'data_root={sample_dataset}/', 'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False', 'model.backbone.widen_factor=0.25',
        'model.decode_head.in_channels=80', 'model.decode_head.channels=32',
    ]  # fmt: skip
    return str(config), options, str(checkpoint), build(config, options, checkpoint)


@pytest.fixture(scope='module')
def det(sample_dataset, tmp_path_factory):
    """A detection config, a checkpoint and its model."""
    folder = tmp_path_factory.mktemp('det')
    config = write_small_config(folder / 'det.py', sample_dataset)
    model = build(config, [], folder / 'det.pth')
    return str(config), str(folder / 'det.pth'), model


def padded(side):
    return side + (1 - side) % 16


@torch.no_grad()
def slow_probabilities(model, image, sides):
    """Return the mean `(classes, H, W)` over the views of one image, each made by hand."""
    total = 0
    for side in sides:
        resized = cv2.resize(image, (side, side))
        for flip in (False, True):
            view = np.ascontiguousarray(resized[:, ::-1] if flip else resized)
            rgb = torch.tensor(MEAN).round().repeat(padded(side), padded(side), 1)
            rgb[:side, :side] = torch.tensor(view[..., ::-1].copy())
            grid = ((rgb - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]
            logits = model.decode_head(model.backbone(grid))
            full = torch.nn.functional.interpolate(
                logits, grid.shape[2:], mode='bilinear', align_corners=True
            )[..., :side, :side]
            full = full.flip(3) if flip else full
            total = total + torch.nn.functional.interpolate(
                full, image.shape[:2], mode='bilinear', align_corners=True
            ).softmax(1)
    return total[0] / (2 * len(sides))


def test_masks_equal_the_mean_over_scales_and_flips(seg, sample_dataset, tmp_path):
    config, options, checkpoint, model = seg
    metrics = evaluate(
        config, checkpoint, work_dir=str(tmp_path), out=str(tmp_path / 'masks'),
        tta_scales=SCALES, cfg_options=options,
    )  # fmt: skip
    sides = [round(144 * scale) for scale in SCALES]
    both = either = 0
    for path in sorted((tmp_path / 'masks').rglob('*.png')):
        image = cv2.imread(str(sample_dataset / 'JPEGImages' / f'{path.stem}.jpg'))
        found = np.asarray(Image.open(path))
        probabilities = slow_probabilities(model, image, sides)
        first, second = probabilities.topk(2, dim=0).values
        sure = (first - second > 1e-3).numpy()
        assert sure.mean() > 0.9
        assert (found == probabilities.argmax(0).numpy())[sure].all()
        truth = np.asarray(Image.open(sample_dataset / 'SegmentationClass' / path.name))
        hits, misses = np.eye(5, dtype=int)[found], np.eye(5, dtype=int)[truth]
        both, either = both + (hits & misses).sum((0, 1)), either + (hits | misses).sum((0, 1))
    # If the ground truth were flipped with the image, the metrics would differ.
    assert metrics['mIoU'] == pytest.approx(100 * (both / either).mean(), abs=0.01)


def test_boxes_equal_the_fusion_of_all_views(det, sample_dataset, tmp_path):
    config, checkpoint, model = det
    scales = (1.0, 1.5)
    evaluate(
        config, checkpoint, work_dir=str(tmp_path), out=str(tmp_path / 'out.pkl'),
        tta_scales=scales,
    )  # fmt: skip
    # Rounding, which folding changes, decides which of two fused boxes a third belongs to.
    model = folded_for(model, detect_machine(amp=False))
    model.bbox_head.prior_generator.base_side = 128
    for result in pickle.loads((tmp_path / 'out.pkl').read_bytes()):
        views = slow_views(model, cv2.imread(result['img_path']), scales)
        boxes, scores, labels = slow_fusion(views, model.test_cfg.nms.iou_threshold)
        found = result['pred_instances']
        limit = model.test_cfg.max_per_img
        assert len(found['scores']) == min(len(scores), limit) > 0
        torch.testing.assert_close(found['scores'], scores[:limit], rtol=1e-4, atol=1e-5)
        # Rounding may exchange boxes of nearly the same score.
        close = (found['scores'][:, None] - scores).abs() < 1e-4 * scores + 1e-5
        close &= found['labels'][:, None] == labels
        close &= ((found['bboxes'][:, None] - boxes).abs() < 1e-3 * boxes.abs() + 2e-2).all(-1)
        assert close.any(1).all()
        assert close.any(0)[: limit - 5].all()


def slow_fusion(views, threshold):
    """Return the weighted fusion of boxes, one box at a time."""
    pool = [
        (float(score), view, box, int(label))
        for view, (boxes, scores, labels) in enumerate(views)
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]
    pool.sort(key=lambda entry: -entry[0])
    corners = torch.stack([box for _, _, box, _ in pool])
    iou = box_iou(corners, corners).tolist()
    heads = []
    for i, (_, _, _, label) in enumerate(pool):
        if all(iou[i][h] <= threshold for h in heads if pool[h][3] == label):
            heads.append(i)
    objects = {h: [] for h in heads}
    for i, (_, _, _, label) in enumerate(pool):
        best = max((h for h in heads if pool[h][3] == label), key=lambda h: iou[i][h])
        if iou[i][best] >= threshold:
            objects[best].append(pool[i])
    fused = []
    for members in objects.values():
        total = sum(score for score, *_ in members)
        box = sum(score * box for score, _, box, _ in members) / total
        best = {}
        for score, view, _, _ in members:
            best[view] = max(best.get(view, 0), score)
        fused.append((sum(best.values()) / len(views), box, members[0][3]))
    fused.sort(key=lambda entry: -entry[0])
    return (
        torch.stack([box for _, box, _ in fused]),
        torch.tensor([score for score, *_ in fused]),
        torch.tensor([label for *_, label in fused]),
    )


@torch.no_grad()
def slow_views(model, image, scales):
    from mmdet.structures import DetDataSample

    views = []
    height, width = image.shape[:2]
    for scale in scales:
        side = round(128 * scale)
        resized = cv2.resize(image, (side, side))
        for flip in (False, True):
            view = np.ascontiguousarray(resized[:, ::-1] if flip else resized)
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=(side, side),
                    ori_shape=(height, width),
                    scale_factor=(side / width, side / height),
                )
            )
            data = dict(inputs=[torch.tensor(view).permute(2, 0, 1)], data_samples=[sample])
            found = model.test_step(data)[0].pred_instances
            x1, y1, x2, y2 = found.bboxes.unbind(1)
            if flip:
                x1, x2 = width - x2, width - x1
            boxes = torch.stack([x1, y1, x2, y2], dim=1)
            views.append((boxes, found.scores, found.labels))
    return views


def test_a_flip_alone_leaves_size_and_padding_to_the_config(seg):
    config, options, _, _ = seg
    cfg = load_config(config, options)
    cfg = use_tta().change(cfg)
    views = cfg.test_dataloader.dataset.pipeline[-1]
    assert views['type'] == 'TestTimeAug'
    names = [[step['type'] for step in steps] for steps in views['transforms']]
    assert names == [['RandomFlip'] * 2, ['LoadAnnotations'], ['PackSegInputs']]
    assert [step['type'] for step in cfg.test_dataloader.dataset.pipeline[:-1]] == [
        'LoadImageFromFile',
        'Resize',
    ]
    assert cfg.model.module.data_preprocessor.test_cfg.size == (145, 145)


def test_scales_of_a_pipeline_that_does_not_resize():
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]
    done = augmented([*pipeline, dict(type='PackSegInputs', meta_keys=('mine',))], (0.5, 1), None)
    resizes, flips, truth, (pack,) = done[-1]['transforms']
    assert done[0]['type'] == 'LoadImageFromFile'
    assert [step['scale_factor'] for step in resizes] == [0.5, 1.0]
    assert [step['prob'] for step in flips] == [0.0, 1.0]
    assert truth == [pipeline[1]]
    assert pack['meta_keys'][0] == 'mine'
    assert {'flip', 'flip_direction', 'scale_factor'} <= set(pack['meta_keys'])


@pytest.mark.parametrize(
    ('step', 'scales', 'message'),
    [
        (dict(type='Resize', scale=(64, 64)), (1, -0.5), 'must be above 0, got -0.5'),
        (dict(type='Pad', size=(64, 64)), (0.5,), 'with Resize, and without Pad'),
        (dict(type='Resize', scale_factor=(1.0, 2.0)), (0.5,), 'Resize with scale or scale_factor'),
    ],
)
def test_impossible_scales(seg, step, scales, message):
    config, options, _, _ = seg
    cfg = load_config(config, options)
    cfg.test_dataloader.dataset.pipeline.insert(1, step)
    with pytest.raises(UserError, match=message):
        cfg = use_tta(scales).change(cfg)


def test_a_joint_model_needs_its_own_merger():
    cfg = load_config(str(ROOT / 'configs' / 'ssdlite-deeplabv3_mbv2_sample.py'), None)
    with pytest.raises(UserError, match=r'cannot merge boxes and masks .* write tta_model'):
        cfg = use_tta((1, 2)).change(cfg)
    cfg.tta_model = dict(type='Own')
    cfg = use_tta((1, 2)).change(cfg)
    assert cfg.model.type == 'Own'
    assert cfg.model.module.bbox_head.anchor_generator.base_side == 128


def test_priors_keep_their_size_at_every_scale(det):
    config, _, _ = det
    cfg = load_config(config, None)
    cfg = use_tta().change(cfg)
    assert 'base_side' not in cfg.model.module.bbox_head.anchor_generator
    cfg = load_config(config, None)
    cfg = use_tta((1, 1.5)).change(cfg)
    assert cfg.model.module.bbox_head.anchor_generator.base_side == 128
    cfg = load_config(config, ['test_dataloader.dataset.pipeline.1.keep_ratio=True'])
    with pytest.raises(UserError, match=r'set model\.bbox_head\.anchor_generator\.base_side'):
        cfg = use_tta((1, 1.5)).change(cfg)
    cfg.model.bbox_head.anchor_generator.base_side = 99
    cfg = use_tta((1, 1.5)).change(cfg)
    assert cfg.model.module.bbox_head.anchor_generator.base_side == 99


def test_resizing_of_tensorflow_is_scaled_in_its_place():
    cfg = load_config(str(ROOT / 'configs' / 'ssdlite_mbv2_coco_tf.py'))
    cfg = use_tta((1, 1.5)).change(cfg)
    load, views = cfg.test_dataloader.dataset.pipeline
    assert load.type == 'LoadImageFromFile'
    assert [(one.type, tuple(one.scale)) for one in views.transforms[0]] == [
        ('LegacyResize', (300, 300)),
        ('LegacyResize', (450, 450)),
    ]


def test_scales_from_the_command_line(det, tmp_path):
    config, checkpoint, _ = det
    result = tool(
        'test', config, checkpoint, '--work-dir', tmp_path, '--no-report',
        '--tta-scales', 1, 1.25,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'bbox_mAP' in result.stdout
    (written,) = tmp_path.glob('2*/vis_data/config.py')
    sizes = [s['scale'] for s in Config.fromfile(written).tta_pipeline[-1]['transforms'][0]]
    assert [tuple(size) for size in sizes] == [(128, 128), (160, 160)]
