"""Masks unfit for training are found."""

import json

import cv2
import numpy as np
import pytest
from helpers.mask import CODINGS, PALETTE, stock_labels, write_image, write_mask
from PIL import Image

from mbv2_backbone.annotations.masks import MaskCoding
from mbv2_backbone.workbench.checks import mask_values as mask_check
from mbv2_backbone.workbench.checks.mask_values import (
    MaskRules,
    mask_problem,
    read_facts,
    scan_masks,
)


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'I;16', 'RGB'])
def test_facts_count_every_value(mode, tmp_path, rng):
    labels = rng.integers(0, 5, (12, 17)).astype(np.uint8)
    image = write_image(tmp_path / 'image.png', labels.shape)
    pixels = np.array(PALETTE, np.uint8)[labels] if mode == 'RGB' else labels
    facts = read_facts(write_mask(tmp_path / 'm.png', pixels, mode), image)
    assert (facts.format, facts.mode, facts.size_wh) == ('PNG', mode, (17, 12))
    kinds = (labels > 0).astype(int) if mode == '1' else labels
    expected = {
        (PALETTE[v] if mode == 'RGB' else v): int((kinds == v).sum()) for v in set(kinds.flat)
    }
    assert dict(facts.counts) == expected


@pytest.mark.parametrize('coding', CODINGS)
@pytest.mark.parametrize('ignore_index', [255, 1])
def test_wrong_labels_that_mmseg_would_train_on_are_reported(coding, ignore_index, tmp_path, rng):
    image = write_image(tmp_path / 'image.png', (3, 3))
    verdicts = []
    for i in range(60):
        values = rng.choice([0, 1, 2, 3, 4, 5, 255], 2)
        labels = rng.choice(values, (3, 3)).astype(np.uint8)
        path = write_mask(tmp_path / f'{i}.png', labels, 'P')
        read = stock_labels(path, coding)
        is_sound = ((read < 3) | (read == ignore_index)).all()
        problem = mask_problem(read_facts(path, image), MaskRules(3, coding, ignore_index))
        assert (problem is None) == is_sound
        verdicts.append(is_sound)
    assert 0 < sum(verdicts) < 60


def test_a_wrong_value_is_named_with_its_count(tmp_path):
    labels = np.zeros((5, 5), np.uint8)
    labels[1], labels[2, 2], labels[3, :2] = 255, 21, 200
    image = write_image(tmp_path / 'image.png', (5, 5))
    facts = read_facts(write_mask(tmp_path / 'm.png', labels, 'L'), image)
    assert str(mask_problem(facts, MaskRules(21, MaskCoding()))).startswith(
        'has the value 200 on 2 pixels, 21 on 1 pixel; the classes are 0-20, and 255 is ignored'
    )
    large = write_mask(tmp_path / 'large.png', labels.astype(np.uint16) + 250, 'I;16')
    problem = mask_problem(read_facts(large, image), MaskRules(256, MaskCoding()))
    assert problem.what.startswith('has the value 505 on 5 pixels, 450 on 2 pixels, 271 on 1')


def test_colours_need_the_loader_that_reads_them(tmp_path):
    image = write_image(tmp_path / 'image.png', (2, 2))
    pixels = np.array([[PALETTE[0], PALETTE[1]], [PALETTE[3], (1, 1, 1)]], np.uint8)
    facts = read_facts(write_mask(tmp_path / 'm.png', pixels, 'RGB'), image)
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
        path = write_mask(tmp_path / f'{mode}.png', labels, mode)
        is_right = np.array_equal(stock_labels(path, MaskCoding(), 'cv2'), labels)
        problem = mask_problem(read_facts(path, image), rules)
        assert is_right == (problem is None) == (mode == 'L')


def test_missing_broken_and_wrongly_sized_files(tmp_path):
    rules = MaskRules(5, MaskCoding())
    labels = np.zeros((4, 6), np.uint8)
    mask = write_mask(tmp_path / 'm.png', labels, 'P')
    image = write_image(tmp_path / 'image.png', (4, 6))
    assert mask_problem(read_facts(mask, image), rules) is None
    missing = str(tmp_path / 'none.png')
    assert 'does not exist' in str(mask_problem(read_facts(missing, image), rules))
    assert mask_problem(read_facts(mask, missing), rules) is None  # the image is the faulty one
    broken = tmp_path / 'broken.png'
    broken.write_bytes((tmp_path / 'm.png').read_bytes()[:-40])
    assert 'cannot be read' in str(mask_problem(read_facts(str(broken), image), rules))
    other = write_image(tmp_path / 'other.png', (6, 4))
    problem = str(mask_problem(read_facts(mask, other), rules))
    assert 'is 6x4 pixels, but its image is 4x6' in problem


def test_an_image_that_exif_rotates_has_the_rotated_size(tmp_path):
    image = Image.fromarray(np.zeros((6, 4, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    path = str(tmp_path / 'turned.jpg')
    image.save(path, exif=exif)
    mask = write_mask(tmp_path / 'm.png', np.zeros(cv2.imread(path).shape[:2], np.uint8), 'L')
    assert mask_problem(read_facts(mask, path), MaskRules(1, MaskCoding())) is None


def test_results_are_cached_until_a_file_changes(tmp_path, rng, monkeypatch):
    pairs = []
    for i, mode in enumerate(('P', 'L', 'RGB')):
        labels = rng.integers(0, 5, (4, 5)).astype(np.uint8)
        pixels = np.array(PALETTE, np.uint8)[labels] if mode == 'RGB' else labels
        mask = write_mask(tmp_path / f'{i}.png', pixels, mode)
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
    assert seen == [pairs[3][0]]  # a missing file may exist by now
    write_mask(tmp_path / '0.png', np.zeros((9, 9), np.uint8), 'P')
    write_image(tmp_path / '1.jpg', (9, 9))
    changed = scan_masks(pairs, cache)
    assert set(seen[1:]) == {pairs[0][0], pairs[1][0], pairs[3][0]}
    assert (changed[0].size_wh, changed[1].image_wh, changed[2]) == ((9, 9), (9, 9), facts[2])
    cache.write_text(json.dumps(dict(other=1)))
    assert scan_masks(pairs, cache) == changed
