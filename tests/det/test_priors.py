"""Grid priors against a loop, the layout of the paper, and what is refused."""

import math

import mmdet.models.task_modules as mmdet_tasks
import pytest
import torch

from mbv2_backbone.det.priors import (
    SSDLitePriorGenerator,
    build_priors,
    grid_priors,
    ssdlite_shapes,
)

SIZES_320 = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def slow_priors(shapes, feature_sizes, input_size):
    """Return one prior at a time, in the order of the network's output."""
    boxes = []
    for level, (rows, columns) in zip(shapes, feature_sizes, strict=True):
        for row in range(rows):
            for column in range(columns):
                for w, h in level.tolist():
                    x = (column + 0.5) * input_size[1] / columns
                    y = (row + 0.5) * input_size[0] / rows
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(boxes)


@pytest.mark.parametrize(
    ('feature_sizes', 'input_size'),
    [(SIZES_320, (320, 320)), ([(3, 7), (2, 4)], (97, 211)), ([(1, 1)], (5, 9))],
)
def test_grid_priors_against_the_loop(feature_sizes, input_size):
    shapes = [torch.rand(1 + i, 2) * 50 for i in range(len(feature_sizes))]
    expected = slow_priors(shapes, feature_sizes, input_size)
    torch.testing.assert_close(torch.cat(grid_priors(shapes, feature_sizes, input_size)), expected)


def test_a_base_side_keeps_the_pixels_of_priors_at_every_input_size():
    options = dict(input_size=(160, 400), device='cpu')
    fixed = SSDLitePriorGenerator(shapes=[[(0.5, 0.25)]], base_side=320)
    (boxes,) = fixed.grid_priors([(2, 5)], **options)
    wh = boxes[:, 2:] - boxes[:, :2]
    torch.testing.assert_close(wh, torch.tensor([160.0, 80.0]).expand(10, 2))
    (relative,) = SSDLitePriorGenerator(shapes=[[(0.5, 0.25)]]).grid_priors([(2, 5)], **options)
    torch.testing.assert_close(relative[:, 2:] - relative[:, :2], wh / 2)
    with pytest.raises(ValueError, match='base_side must be pixels above 0, or None, got 0'):
        SSDLitePriorGenerator(base_side=0)


def test_the_papers_layout():
    """Computed by hand from the released configuration: scales 0.2 to 0.95, six levels."""
    shapes = ssdlite_shapes()
    assert [len(level) for level in shapes] == [3, 6, 6, 6, 6, 6]
    root2, root3 = math.sqrt(2), math.sqrt(3)
    torch.testing.assert_close(
        shapes[0],
        torch.tensor([(0.1, 0.1), (0.2 * root2, 0.2 / root2), (0.2 / root2, 0.2 * root2)]),
    )
    s, after = 0.35, 0.5
    torch.testing.assert_close(
        shapes[1],
        torch.tensor([
            (s, s), (s * root2, s / root2), (s / root2, s * root2),
            (s * root3, s / root3), (s / root3, s * root3), (math.sqrt(s * after),) * 2,
        ]),
    )  # fmt: skip
    torch.testing.assert_close(shapes[5][5], torch.tensor([math.sqrt(0.95)] * 2))


def test_priors_follow_the_input_size():
    generator = SSDLitePriorGenerator()
    priors = generator.grid_priors(SIZES_320, input_size=(320, 320), device='cpu')
    assert sum(map(len, priors)) == 400 * 3 + (100 + 25 + 9 + 4 + 1) * 6
    double = generator.grid_priors(SIZES_320, input_size=(640, 640), device='cpu')
    torch.testing.assert_close(torch.cat(double), 2 * torch.cat(priors))
    wide = generator.grid_priors(SIZES_320, input_size=(320, 640), device='cpu')
    wh = wide[0][:, 2:] - wide[0][:, :2]
    torch.testing.assert_close(wh[0], torch.tensor([32.0, 32.0]))  # of the shorter side
    assert wide[0][-1, [0, 2]].mean() == 640 - 16


def test_valid_flags_against_the_loop():
    generator = SSDLitePriorGenerator(shapes=[[(0.2, 0.2)], [(0.5, 0.5), (0.6, 0.4)]])
    sizes, input_size = [(4, 6), (2, 3)], (64, 96)
    for pad_shape in [(64, 96), (33, 50), (16, 16), (1, 95)]:
        flags = generator.valid_flags(sizes, pad_shape, input_size=input_size, device='cpu')
        for (rows, columns), num, got in zip(sizes, (1, 2), flags, strict=True):
            expected = [
                row * input_size[0] / rows < pad_shape[0]
                and column * input_size[1] / columns < pad_shape[1]
                for row in range(rows)
                for column in range(columns)
                for _ in range(num)
            ]
            assert got.tolist() == expected


def test_mmdets_generators_work_unchanged():
    cfg = dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[16, 32],
        ratios=[[2, 3], [2]],
        min_sizes=[48, 100],
        max_sizes=[100, 150],
    )
    ours, theirs = build_priors(dict(cfg)), mmdet_tasks.SSDAnchorGenerator(
        **{k: v for k, v in cfg.items() if k != 'type'}
    )  # fmt: skip
    assert ours.num_base_priors == [6, 4]
    got = ours.grid_priors([(4, 5), (2, 3)], input_size=(64, 80), device='cpu')
    expected = theirs.grid_priors([(4, 5), (2, 3)], device='cpu')
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(shapes=[[(0.2, 0.0)]]),
        dict(shapes=[]),
        dict(scale_range=(0.9, 0.2)),
        dict(scale_range=(0.0, 0.9)),
    ],
)
def test_impossible_priors_are_refused(kwargs):
    with pytest.raises(ValueError, match=r'shape|scale_range'):
        SSDLitePriorGenerator(**kwargs)
