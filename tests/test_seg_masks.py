"""Masks in every coding: mmseg's own loader and slow loops are the oracles."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.models.decode_heads import FCNHead
from mmseg.models.segmentors import EncoderDecoder  # noqa: F401  (registers the preprocessor)
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from PIL import Image

from mbv2_backbone.data.image_files import write_palette_png
from mbv2_backbone.errors import UserError
from mbv2_backbone.seg import datasets, mask_check  # noqa: F401  (registers LoadLabelMap)
from mbv2_backbone.seg.mask_check import MaskRules, mask_problem, read_facts, scan_masks
from mbv2_backbone.seg.masks import MaskCoding, decode_mask, map_colours, read_mask

PALETTE = [(0, 0, 0), (250, 10, 10), (10, 250, 10), (10, 10, 250), (9, 9, 9)]
CODINGS = [
    MaskCoding(),
    MaskCoding(reduce_zero_label=True),
    MaskCoding(label_map={0: 255, 1: 2, 2: 0, 3: 1, 4: 255}),
    MaskCoding(reduce_zero_label=True, label_map={0: 1, 1: 0, 2: 255}),
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def write(path, labels, mode):
    if mode == 'P':
        write_palette_png(path, labels, PALETTE)
    elif mode == 'I;16':
        cv2.imwrite(str(path), labels.astype(np.uint16))
    elif mode == '1':
        Image.fromarray(labels > 0).save(path)
    else:
        Image.fromarray(labels).save(path)
    return str(path)


def stock(path, coding, backend='pillow'):
    """What mmseg reads."""
    sample = dict(
        seg_map_path=path,
        reduce_zero_label=coding.reduce_zero_label,
        label_map=coding.label_map,
        seg_fields=[],
    )
    return LoadAnnotations(imdecode_backend=backend)(sample)['gt_seg_map']


def write_image(path, size_hw):
    cv2.imwrite(str(path), np.full((*size_hw, 3), 99, np.uint8))
    return str(path)


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'I;16'])
@pytest.mark.parametrize('coding', CODINGS)
def test_indices_are_read_as_by_mmseg(mode, coding, tmp_path, rng):
    for i in range(2):
        labels = rng.choice(np.array([0, 1, 2, 3, 4, 7, 254, 255], np.uint8), (9, 13))
        path = write(tmp_path / f'{i}.png', labels, mode)
        pixels = read_mask(path, path)
        assert Image.open(path).mode == mode
        assert np.array_equal(decode_mask(pixels, coding, path), stock(path, coding))


def test_the_transform_equals_mmsegs_on_a_palette_png_and_reads_more(tmp_path, rng):
    labels = rng.integers(0, 5, (2, 8, 6)).astype(np.uint8)
    load = TRANSFORMS.build(dict(type='LoadLabelMap', palette=PALETTE))
    for i in range(2):
        index = write(tmp_path / f'{i}.png', labels[i], 'P')
        colour = tmp_path / f'{i}_rgb.png'
        Image.fromarray(np.array(PALETTE, np.uint8)[labels[i]]).save(colour)
        for coding in (CODINGS[0], CODINGS[2]):
            sample = dict(reduce_zero_label=False, label_map=coding.label_map)
            for path in (index, str(colour)):
                loaded = load(dict(sample, seg_map_path=path, seg_fields=[]))
                assert loaded['seg_fields'] == ['gt_seg_map']
                assert loaded['gt_seg_map'].dtype == np.uint8
                assert np.array_equal(loaded['gt_seg_map'], stock(index, coding))
    assert load(dict(img=3)) == dict(img=3)


def test_colours_against_a_loop(rng):
    labels = {(1, 2, 3): 4, (3, 2, 1): 0, (0, 0, 0): 255, (255, 255, 255): 1}
    colours = rng.choice(np.array([*labels, (1, 2, 4), (2, 1, 3)], np.uint8), (11, 7))
    expected = [[labels.get(tuple(pixel), -1) for pixel in row] for row in colours.tolist()]
    assert np.array_equal(map_colours(colours, labels), expected)
    assert map_colours(colours[:0], labels).shape == (0, 7)


def test_ignored_and_unknown_colours_and_indices(tmp_path):
    row = np.array([[PALETTE[1], (224, 224, 192), (5, 6, 7), (5, 6, 7)]], np.uint8)
    with pytest.raises(UserError, match=r'x\.png has the colour \(5, 6, 7\) on 2 pixels'):
        decode_mask(row, MaskCoding(palette=PALETTE), 'x.png')
    for coding in (
        MaskCoding(palette=PALETTE, ignore=[(5, 6, 7)]),
        MaskCoding(palette=PALETTE, ignore_unknown=True),
    ):
        assert decode_mask(row, coding, 'x.png').tolist() == [[1, 255, 255, 255]]
    with pytest.raises(UserError, match='palette='):
        decode_mask(row, MaskCoding(), 'x.png')
    indices = np.array([[0, 1, 3]])
    coding = MaskCoding(ignore=[3, (5, 6, 7)], label_map={0: 2})
    assert decode_mask(indices, coding, 'x.png').tolist() == [[2, 1, 255]]
    with pytest.raises(UserError, match='values from 0 to 300'):
        decode_mask(indices * 100, MaskCoding(), 'x.png')


def test_lossy_translucent_and_odd_files_are_refused(tmp_path):
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    glass = grey.convert('RGBA')
    glass.putalpha(7)
    for name, image, match in [
        ('a.jpg', grey, 'is a JPEG'),
        ('b.png', grey.convert('LA'), 'mode LA'),
        ('c.png', glass, 'translucent'),
    ]:
        path = tmp_path / name
        image.save(path)
        with pytest.raises(UserError, match=match):
            read_mask(str(path), name)
        image_path = write_image(tmp_path / 'image.png', (4, 4))
        rules = MaskRules(2, MaskCoding(palette=PALETTE), reads_colours=True)
        assert match in str(mask_problem(read_facts(str(path), image_path), rules))
    grey.convert('RGBA').save(tmp_path / 'd.png')
    assert read_mask(str(tmp_path / 'd.png'), 'd').shape == (4, 4, 3)


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'I;16', 'RGB'])
def test_facts_count_every_value(mode, tmp_path, rng):
    labels = rng.integers(0, 5, (12, 17)).astype(np.uint8)
    image = write_image(tmp_path / 'image.png', labels.shape)
    pixels = np.array(PALETTE, np.uint8)[labels] if mode == 'RGB' else labels
    facts = read_facts(write(tmp_path / 'm.png', pixels, mode), image)
    assert (facts.format, facts.mode, facts.size_wh) == ('PNG', mode, (17, 12))
    kinds = (labels > 0).astype(int) if mode == '1' else labels
    expected = {
        (PALETTE[v] if mode == 'RGB' else v): int((kinds == v).sum()) for v in set(kinds.flat)
    }
    assert dict(facts.counts) == expected


@pytest.mark.parametrize('coding', CODINGS)
@pytest.mark.parametrize('ignore_index', [255, 1])
def test_a_problem_is_told_where_mmseg_would_train_on_a_wrong_label(
    coding, ignore_index, tmp_path, rng
):
    image = write_image(tmp_path / 'image.png', (3, 3))
    verdicts = []
    for i in range(60):
        values = rng.choice([0, 1, 2, 3, 4, 5, 255], 2)
        labels = rng.choice(values, (3, 3)).astype(np.uint8)
        path = write(tmp_path / f'{i}.png', labels, 'P')
        read = stock(path, coding)
        is_sound = ((read < 3) | (read == ignore_index)).all()
        problem = mask_problem(read_facts(path, image), MaskRules(3, coding, ignore_index))
        assert (problem is None) == is_sound
        verdicts.append(is_sound)
    assert 0 < sum(verdicts) < 60


def test_a_wrong_value_is_named_with_its_count(tmp_path):
    labels = np.zeros((5, 5), np.uint8)
    labels[1], labels[2, 2], labels[3, :2] = 255, 21, 200
    image = write_image(tmp_path / 'image.png', (5, 5))
    facts = read_facts(write(tmp_path / 'm.png', labels, 'L'), image)
    assert str(mask_problem(facts, MaskRules(21, MaskCoding()))).startswith(
        'has the value 200 on 2 pixels, 21 on 1 pixel; the classes are 0-20, and 255 is ignored'
    )
    large = write(tmp_path / 'large.png', labels.astype(np.uint16) + 250, 'I;16')
    problem = mask_problem(read_facts(large, image), MaskRules(256, MaskCoding()))
    assert problem.what.startswith('has the value 505 on 5 pixels, 450 on 2 pixels, 271 on 1')


def test_colours_need_the_loader_that_reads_them(tmp_path):
    image = write_image(tmp_path / 'image.png', (2, 2))
    pixels = np.array([[PALETTE[0], PALETTE[1]], [PALETTE[3], (1, 1, 1)]], np.uint8)
    facts = read_facts(write(tmp_path / 'm.png', pixels, 'RGB'), image)
    coding = MaskCoding(palette=PALETTE)

    def problem(num_classes=5, coding=coding, **options):
        return mask_problem(facts, MaskRules(num_classes, coding, **options))

    assert 'LoadAnnotations reads indices only' in str(problem())
    assert 'the colour (1, 1, 1) on 1 pixel' in str(problem(reads_colours=True))
    assert 'palette=' in str(problem(coding=MaskCoding(), reads_colours=True))
    coding = MaskCoding(palette=PALETTE, ignore_unknown=True)
    assert problem(coding=coding, reads_colours=True) is None
    assert 'label 3' in str(problem(3, coding=coding, reads_colours=True))


def test_cv2_turns_indices_into_colours_and_is_refused(tmp_path, rng):
    labels = rng.integers(0, 2, (6, 6)).astype(np.uint8)
    image = write_image(tmp_path / 'image.png', (6, 6))
    rules = MaskRules(5, MaskCoding(), backend='cv2')
    for mode in ('P', '1', 'L'):
        path = write(tmp_path / f'{mode}.png', labels, mode)
        is_right = np.array_equal(stock(path, MaskCoding(), 'cv2'), labels)
        problem = mask_problem(read_facts(path, image), rules)
        assert is_right == (problem is None) == (mode == 'L')


def test_missing_broken_and_ill_sized_files(tmp_path):
    rules = MaskRules(5, MaskCoding())
    labels = np.zeros((4, 6), np.uint8)
    mask = write(tmp_path / 'm.png', labels, 'P')
    image = write_image(tmp_path / 'image.png', (4, 6))
    assert mask_problem(read_facts(mask, image), rules) is None
    missing = str(tmp_path / 'none.png')
    assert 'does not exist' in str(mask_problem(read_facts(missing, image), rules))
    assert mask_problem(read_facts(mask, missing), rules) is None  # the image is at fault
    broken = tmp_path / 'broken.png'
    broken.write_bytes((tmp_path / 'm.png').read_bytes()[:-40])
    assert 'cannot be read' in str(mask_problem(read_facts(str(broken), image), rules))
    other = write_image(tmp_path / 'other.png', (6, 4))
    problem = str(mask_problem(read_facts(mask, other), rules))
    assert 'is 6x4 pixels, but its image is 4x6' in problem


def test_an_image_that_its_exif_data_turns_has_the_turned_size(tmp_path):
    image = Image.fromarray(np.zeros((6, 4, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    path = str(tmp_path / 'turned.jpg')
    image.save(path, exif=exif)
    mask = write(tmp_path / 'm.png', np.zeros(cv2.imread(path).shape[:2], np.uint8), 'L')
    assert mask_problem(read_facts(mask, path), MaskRules(1, MaskCoding())) is None


def test_what_was_found_out_is_kept_until_a_file_changes(tmp_path, rng, monkeypatch):
    pairs = []
    for i, mode in enumerate(('P', 'L', 'RGB')):
        labels = rng.integers(0, 5, (4, 5)).astype(np.uint8)
        pixels = np.array(PALETTE, np.uint8)[labels] if mode == 'RGB' else labels
        mask = write(tmp_path / f'{i}.png', pixels, mode)
        pairs.append((mask, write_image(tmp_path / f'{i}.jpg', (4, 5))))
    pairs.append((str(tmp_path / 'none.png'), pairs[0][1]))
    cache = tmp_path / 'new' / 'masks.json'
    facts = scan_masks(pairs, cache)
    assert facts == [read_facts(*pair) for pair in pairs]
    assert scan_masks([], tmp_path / 'empty.json') == []

    seen = []

    def spy(mask, image):
        seen.append(mask)
        return read_facts(mask, image)

    monkeypatch.setattr(mask_check, 'read_facts', spy)
    assert scan_masks(pairs, cache) == facts
    assert seen == [pairs[3][0]]  # what is missing may have come
    write(tmp_path / '0.png', np.zeros((9, 9), np.uint8), 'P')
    write_image(tmp_path / '1.jpg', (9, 9))
    changed = scan_masks(pairs, cache)
    assert set(seen[1:]) == {pairs[0][0], pairs[1][0], pairs[3][0]}
    assert (changed[0].size_wh, changed[1].image_wh, changed[2]) == ((9, 9), (9, 9), facts[2])
    cache.write_text(json.dumps(dict(other=1)))
    assert scan_masks(pairs, cache) == changed


def test_255_is_padding_and_does_not_count_in_the_loss():
    preprocessor = MODELS.build(dict(type='SegDataPreProcessor', size=(8, 8)))
    labels = torch.randint(0, 3, (2, 1, 5, 6))
    labels[:, :, 0] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in labels]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(5, 6)))
    batch = dict(inputs=[torch.zeros(3, 5, 6, dtype=torch.uint8)] * 2, data_samples=samples)
    samples = preprocessor(batch, training=True)['data_samples']
    masks = torch.stack([sample.gt_sem_seg.data for sample in samples])
    assert masks.shape == (2, 1, 8, 8)
    assert (masks[..., 5:, :] == 255).all()
    assert (masks[..., 6:] == 255).all()
    head = FCNHead(in_channels=4, channels=4, num_convs=0, concat_input=False, num_classes=3)
    logits = torch.randn(2, 3, 8, 8)
    other = torch.where(masks == 255, torch.randn_like(logits), logits)
    losses = [head.loss_by_feat(x, samples)['loss_ce'] for x in (logits, other)]
    assert torch.equal(*losses)
    assert losses[0] > 0
