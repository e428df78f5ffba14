"""Cropping, expanding and resizing in one step, against mmdet's three transforms."""

import numpy as np
import pytest
import torch
from helpers.det import MEAN, MIN_IOUS, build, ours_step, sample, stock_steps
from helpers.transforms import run, smooth_image
from mmdet.structures.bbox import HorizontalBoxes

from mbv2_backbone.det import RandomExpandCropResize
from mbv2_backbone.det.crops import (
    centres_inside,
    reduction_of,
    resample_window,
    sample_crop,
    sample_expansion,
)

SEEDS = range(300)
ODD_SHAPES = [(1, 1), (1, 200), (300, 2), (3, 5), (20, 900)]


def with_positions(results, dtype=np.uint8):
    """Return the sample with two more image channels: the x and y of each pixel."""
    height, width = results['img_shape']
    y, x = np.mgrid[:height, :width]
    img = np.concatenate([results['img'], np.stack([x, y], -1)], -1)
    return dict(results, img=img.astype(dtype))


@pytest.fixture(scope='module')
def stock_runs():
    """Return mmdet's window of positions, results and next random number for each sample."""
    crop, resize = build(*stock_steps((255, 255, *MEAN))[:2]), build(stock_steps()[2])
    runs = []
    for seed in SEEDS:
        cropped, following = run(crop, with_positions(sample(seed)), seed)
        colours, window = np.split(cropped['img'], [3], -1)
        runs.append((window, resize(dict(cropped, img=colours)), following))
    return runs


def assert_same_annotations(ours, stock):
    assert torch.equal(ours['gt_bboxes'].tensor, stock['gt_bboxes'].tensor)
    assert np.array_equal(ours['gt_bboxes_labels'], stock['gt_bboxes_labels'])
    assert np.array_equal(ours['gt_ignore_flags'], stock['gt_ignore_flags'])
    assert ours['scale_factor'] == stock['scale_factor']
    assert ours['img_shape'] == stock['img_shape']


def test_same_random_numbers_give_the_same_boxes_and_pixels(stock_runs):
    pipeline = build(ours_step())
    num_exact = 0
    for seed, (_, stock, stock_next) in zip(SEEDS, stock_runs, strict=True):
        ours, ours_next = run(pipeline, sample(seed), seed)
        assert ours_next == stock_next
        assert_same_annotations(ours, stock)
        difference = abs(ours['img'].astype(int) - stock['img'])
        assert difference.mean() < 1.5, seed
        num_exact += difference.max() == 0
    assert num_exact > len(SEEDS) / 4  # windows within the image


def draw_window(results, seed):
    """Return the window of the original image that our functions choose."""
    height, width = results['img_shape']
    np.random.seed(seed)
    (w, h), (x, y) = sample_expansion((width, height), (1, 4), 0.5)
    boxes = results['gt_bboxes'].tensor.numpy() + np.array([x, y] * 2, np.float32)
    x1, y1, x2, y2 = sample_crop(boxes, (w, h), MIN_IOUS, 0.3, 180) or (0, 0, w, h)
    return x1 - x, y1 - y, min(x2, w) - x, min(y2, h) - y


def positions_in(window, height, width, fill=255):
    """Return the window of positions that mmdet must produce."""
    x1, y1, x2, y2 = window
    y, x = np.mgrid[y1:y2, x1:x2]
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(is_inside[..., None], np.stack([x, y], -1), fill)


def test_same_random_numbers_choose_the_same_window(stock_runs):
    for seed, (expected, _, _) in zip(SEEDS, stock_runs, strict=True):
        results = sample(seed)
        window = draw_window(results, seed)
        assert np.array_equal(positions_in(window, *results['img_shape']), expected), seed


def test_same_window_of_tiny_and_long_images():
    stock = build(*stock_steps((-1, -1, *MEAN))[:2])
    for seed in range(60):
        results = sample(seed, ODD_SHAPES)
        expected, following = run(stock, with_positions(sample(seed, ODD_SHAPES), np.int16), seed)
        window = draw_window(results, seed)
        assert np.random.random() == following
        positions = positions_in(window, *results['img_shape'], fill=-1)
        assert np.array_equal(positions, expected['img'][..., 3:]), seed


def describe(results):
    """Return areas and aspect ratios of boxes, how many were kept, and how much they cover."""
    boxes = results['gt_bboxes'].tensor.numpy()
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return w * h, (w + 1) / (h + 1), len(boxes), (w * h).sum(), np.prod(results['scale_factor'])


def distance(first, second):
    """Return the largest distance between two empirical distributions (Kolmogorov-Smirnov)."""
    at = np.concatenate([first, second])
    parts = [np.searchsorted(np.sort(x), at, side='right') / len(x) for x in (first, second)]
    return abs(parts[0] - parts[1]).max()


def test_other_random_numbers_give_the_same_distribution(stock_runs):
    pipeline = build(ours_step())
    ours = [describe(run(pipeline, sample(seed), seed + 10_000)[0]) for seed in SEEDS]
    stock = [describe(results) for _, results, _ in stock_runs]
    for name, of_ours, of_stock in zip(
        ('area', 'aspect', 'kept', 'coverage', 'scale'),
        zip(*ours, strict=True),
        zip(*stock, strict=True),
        strict=True,
    ):
        first, second = np.hstack(of_ours), np.hstack(of_stock)
        # Two samples of one distribution are farther apart than this 1 time in 1000.
        limit = 1.95 * (1 / len(first) + 1 / len(second)) ** 0.5
        assert distance(first, second) < limit, name


def test_tiny_and_long_images_are_treated_as_in_mmdet():
    stock, ours = build(*stock_steps()), build(ours_step())
    for seed in range(60):
        expected, stock_next = run(stock, sample(seed, ODD_SHAPES), seed)
        got, ours_next = run(ours, sample(seed, ODD_SHAPES), seed)
        assert ours_next == stock_next
        assert_same_annotations(got, expected)


def test_homography_leads_from_the_image_to_the_result():
    results = sample(1)
    inner = torch.tensor([[14.0, 14, 16, 16]])
    results.update(
        gt_bboxes=HorizontalBoxes(inner), gt_bboxes_labels=np.zeros(1), gt_ignore_flags=np.zeros(1)
    )
    got, _ = run(build(dict(ours_step(), min_ious=())), results, 3)
    corners = np.array([[14, 14, 1], [16, 16, 1]]) @ got['homography_matrix'].T
    assert np.allclose(corners[:, :2].ravel(), got['gt_bboxes'].tensor[0], atol=1e-3)


def test_centre_on_the_edge_of_the_crop_is_outside():
    centres = np.array([(10, 25), (30, 25), (20, 20), (20, 30), (11, 21), (29, 29)], np.float32)
    boxes = np.concatenate([centres - 2, centres + 2], 1)
    assert centres_inside(boxes, (10, 20, 30, 30)).tolist() == [False] * 4 + [True] * 2
    assert centres_inside(boxes[:0], (10, 20, 30, 30)).shape == (0,)


def test_a_crop_that_never_fits_stops_at_the_limit(monkeypatch):
    rounds = RandomExpandCropResize().max_rounds
    assert (6 / 7) ** rounds < 1e-12 < (6 / 7) ** (rounds - 1)
    drawn = []
    monkeypatch.setattr(np.random, 'randint', lambda count: drawn.append(count) or 5)
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    assert sample_crop(boxes, (40, 30), MIN_IOUS, 0.3, rounds) is None
    assert drawn == [7] * rounds


def test_a_window_outside_the_image_shows_the_fill():
    img = smooth_image(20, 30)
    for window in [(31, 0, 60, 20), (-50, -40, -2, -2), (0, 25, 30, 90)]:
        got = resample_window(img, window, (12, 9), (1, 2, 3))
        assert got.shape == (9, 12, 3)
        assert (got == (1, 2, 3)).all()


def test_the_reduction_is_the_largest_without_enlarging():
    rng = np.random.default_rng(0)
    for _ in range(500):
        w, h, size_w, size_h = rng.integers(1, 900, 4) * rng.choice([1, 4], 4)
        x, y = rng.integers(-99, 99, 2)
        factor = reduction_of((x, y, x + w, y + h), (size_w, size_h))
        assert factor == 1 or (w / factor >= size_w and h / factor >= size_h)
        assert factor == 8 or w / factor < 2 * size_w or h / factor < 2 * size_h
