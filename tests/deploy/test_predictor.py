"""Predictor's image, box and metadata handling, without a real exported file or torch."""

import json
import subprocess
import sys
from dataclasses import replace

import mmcv
import numpy as np
import pytest
import torch
from helpers import rules
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.image import (
    Placement,
    check_image,
    load_rgb,
    place,
    resize,
    resize_mask,
)
from mbv2_backbone.deploy.metadata import Metadata, Segmentation
from mbv2_backbone.deploy.nms import nms, select_boxes
from mbv2_backbone.deploy.predictor import likeliest_of
from mbv2_backbone.det import SSDLiteHead
from mbv2_backbone.det.targets import decode

pytestmark = pytest.mark.runtime
SIZE = (64, 64)
RULES = replace(rules.RULES, nms_pre=40)
METADATA = Metadata(
    input_size=(32, 64),
    fit='pad',
    within=None,
    pad_value=(1, 2, 3),
    batch_size=1,
    is_raw=False,
    precision='float32',
    detection=RULES,
    segmentation=Segmentation(classes=('d',), palette=None, align_corners=False),
)


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ((480, 640), (320, 320)),
        ((192, 192), (128, 128)),
        ((64, 64), (32, 32)),
        ((33, 57), (320, 321)),
        ((5, 3), (128, 100)),
        ((1, 1), (8, 8)),
        ((300, 200), (299, 7)),
    ],
)
def test_resizing_equals_the_toolboxes(old, new, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    assert np.array_equal(resize(image, new), mmcv.imresize(image, new[::-1]))
    monkeypatch.setitem(sys.modules, 'cv2', None)
    assert resize(image, old) is image
    with pytest.raises(UserError, match='pip install opencv-python-headless'):
        resize(image, new)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    ('old', 'placed', 'new'),
    [
        ((9, 12), (9, 12), (40, 30)),
        ((65, 65), (48, 65), (375, 500)),
        ((40, 60), (40, 60), (11, 7)),
        ((1, 3), (1, 3), (4, 1)),
        ((5, 5), (5, 5), (5, 5)),
    ],
)
def test_masks_equal_the_argmax_of_resized_logits(old, placed, new, align_corners):
    logits = np.random.default_rng(0).normal(size=(4, *old)).astype(np.float32)
    whole = torch.from_numpy(logits[None, :, : placed[0], : placed[1]])
    expected = torch.nn.functional.interpolate(
        whole, size=new, mode='bilinear', align_corners=align_corners
    )[0].argmax(0)
    where = Placement(new, placed)
    mask = where.mask_back(logits.argmax(0), logits, align_corners=align_corners)
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize('num_classes', [1, 4, 5, 6, 1000])
def test_the_five_likeliest_classes_come_best_first(num_classes):
    probabilities = np.random.default_rng(num_classes).integers(0, 50, num_classes) / np.float32(50)
    order = sorted(range(num_classes), key=lambda k: (-probabilities[k], k))  # of equal ones first
    assert likeliest_of(probabilities) == [(k, float(probabilities[k])) for k in order[:5]]
    assert likeliest_of(probabilities, 3) == likeliest_of(probabilities)[:3]


def test_a_large_mask_is_resized_in_blocks(monkeypatch):
    logits = np.random.default_rng(1).normal(size=(3, 20, 30)).astype(np.float32)
    mask = logits.argmax(0)
    expected = resize_mask(mask, logits, (70, 80), align_corners=False)
    monkeypatch.setattr('mbv2_backbone.deploy.image._BLOCK', 97)
    assert np.array_equal(resize_mask(mask, logits, (70, 80), align_corners=False), expected)


def test_padding_keeps_the_aspect_ratio_and_can_be_undone():
    image = np.full((50, 25, 3), 9, np.uint8)
    rules = replace(METADATA, input_size=(40, 40))
    placed, where = place(image, rules)
    assert where == Placement((50, 25), (40, 20))
    assert (placed[:, :20] == 9).all()
    assert (placed[:, 20:] == (1, 2, 3)).all()
    larger = replace(rules, input_size=(60, 60))
    assert place(image, larger)[1].placed_size == (50, 25)
    limited = replace(rules, input_size=(200, 200), within=(100, 100))
    assert place(image, limited)[1].placed_size == (100, 50)
    boxes = where.boxes_back(np.array([[4, 8, 20, 40], [-3, 0, 39, 39]], np.float32))
    assert np.allclose(boxes, [[5, 10, 25, 50], [0, 0, 25, 48.75]])


def raw_outputs(head, count, seed):
    """Return class logits and box deltas of a head on three feature levels."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((4, 4), (2, 2))
    logits = [
        torch.randn(count, n * 4, *size, generator=generator) * 2
        for n, size in zip(head.num_base_priors, sizes, strict=True)
    ]
    deltas = [
        torch.randn(count, n * 4, *size, generator=generator)
        for n, size in zip(head.num_base_priors, sizes, strict=True)
    ]
    return logits, deltas


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(nms_pre=-1),
        dict(score_thr=0.999),
        dict(nms_pre=5),
        dict(clip_after_nms=True),
        dict(clip_after_nms=True, max_per_img=3),
    ],
    ids=str,
)
def test_boxes_are_chosen_as_the_head_chooses_them(seed, options):
    rules = replace(RULES, **options)
    test_cfg = dict(
        nms_pre=rules.nms_pre,
        nms=dict(type='nms', iou_threshold=rules.iou_thr),
        min_bbox_size=0,
        score_thr=rules.score_thr,
        max_per_img=rules.max_per_img,
        clip_after_nms=rules.clip_after_nms,
    )
    priors = dict(type='SSDLitePriorGenerator', num_levels=2)
    head = SSDLiteHead(
        num_classes=3, in_channels=(8, 8), anchor_generator=priors, test_cfg=test_cfg
    )
    outs = raw_outputs(head, 2, seed)
    metas = [dict(img_shape=(64, 64), batch_input_shape=(64, 64))] * 2
    expected = head.predict_by_feat(*outs, batch_img_metas=metas)
    logits, deltas = head.flatten_outputs(*outs)
    priors, level_of = head.batch_priors(outs[0], metas)
    boxes = decode(priors, deltas, **head.coding)
    if not rules.clip_after_nms:
        boxes = boxes.clamp(0, 64)
    rules = replace(rules, level_sizes=tuple(torch.bincount(level_of).tolist()))
    for i in range(2):
        scores = head.scores(logits[i]).numpy()
        found = select_boxes(scores, boxes[i].numpy(), rules, SIZE)
        assert np.allclose(found[0], expected[i].bboxes, atol=1e-4)
        assert np.allclose(found[1], expected[i].scores, atol=1e-6)
        assert np.array_equal(found[2], expected[i].labels)


def test_boxes_that_only_touch_stay_and_no_boxes_are_fine():
    assert nms(np.zeros((0, 4)), 0.5).tolist() == []
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [10, 0, 20, 10], [3, 3, 3, 3]])
    assert nms(boxes, 0.5).tolist() == [0, 2, 3]
    nothing = select_boxes(
        np.zeros((72, 3), np.float32), np.zeros((72, 4), np.float32), RULES, SIZE
    )
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_metadata_survives_and_a_foreign_file_is_refused():
    assert Metadata.from_strings(METADATA.to_strings(), 'x.onnx') == METADATA
    assert METADATA.task == 'joint'
    assert json.loads(METADATA.to_strings()['detection'])['classes'] == ['a', 'b', 'c']
    assert METADATA.output_names == ('boxes', 'scores', 'labels', 'mask', 'logits')
    assert replace(METADATA, is_raw=True).output_names == ('scores', 'boxes', 'logits')
    with pytest.raises(UserError, match=r'x\.onnx has no valid metadata'):
        Metadata.from_strings({}, 'x.onnx')
    for version, advice in (
        ('99', 'update'),
        ('5', 'update'),
        ('1', 'export the checkpoint again'),
    ):
        with pytest.raises(UserError, match=advice):
            Metadata.from_strings(METADATA.to_strings() | {'format': version}, 'x.onnx')


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((4, 4, 3), np.float32), 'float32'),
        (np.zeros((4, 4), np.uint8), r'\(4, 4\)'),
        (np.zeros((4, 4, 4), np.uint8), r'\(4, 4, 4\)'),
        (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'),
        ([1, 2], 'list'),
    ],
)
def test_an_array_that_is_no_image_is_refused(image, message):
    with pytest.raises(UserError, match=message):
        check_image(image)


def test_an_image_file_is_read_as_exif_says_it_is_seen(tmp_path):
    with pytest.raises(UserError, match='no image at'):
        load_rgb(tmp_path / 'none.jpg')
    (tmp_path / 'bad.jpg').write_bytes(b'no image')
    with pytest.raises(UserError, match='cannot be read as an image'):
        load_rgb(tmp_path / 'bad.jpg')
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    image.save(tmp_path / 'whole.jpg')
    whole = (tmp_path / 'whole.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match='cannot be read as an image'):
        load_rgb(tmp_path / 'cut.jpg')
    exif = image.getexif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(tmp_path / 'turned.png', exif=exif)
    assert np.array_equal(load_rgb(tmp_path / 'turned.png'), np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize('suffix', ['onnx', 'xml', 'pt2'])
def test_a_broken_file_is_refused(tmp_path, suffix):
    path = tmp_path / f'model.{suffix}'
    with pytest.raises(UserError, match='no exported model'):
        Predictor(path)
    path.write_bytes(b'nothing')
    with pytest.raises(UserError, match='cannot be loaded'):
        Predictor(path)


def test_the_wrong_suffix_or_runtime_is_named(tmp_path):
    with pytest.raises(UserError, match=r'\.onnx, \.xml, \.pt2, \.pte'):
        Predictor(tmp_path / 'model.pth')
    with pytest.raises(UserError, match='openvino can'):
        Predictor(tmp_path / 'model.xml', runtime='onnxruntime')


def test_a_missing_runtime_is_named():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        'from mbv2_backbone.deploy.runtime_files import import_runtime\n'
        "import_runtime('onnxruntime')"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'pip install onnxruntime' in result.stderr.splitlines()[-1]
