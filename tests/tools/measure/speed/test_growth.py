"""Benchmark: growth of time and memory with batch, size and width."""

import pytest
import torch
from helpers.bench import SIZE, arguments, config
from measure.speed import growth
from measure.speed.models import build_random, set_width
from measure.speed.peers import peer_config
from measure.speed.work import WORK

from mbv2_backbone.common.messages import UserError

pytestmark = pytest.mark.runtime


def request(tmp_path, name='ssdlite_mbv2_coco', **points):
    points = dict(batches=[], sizes=[], widths=[]) | points
    path = str(tmp_path / 'growth.png')
    return arguments('growth', name, peer=None, rounds=1, out=path, **points)


def test_slopes_and_ratios_are_said_and_drawn(tmp_path):
    rows = [
        {'series': series, 'by': who, 'value': n, 'median ms': times, 'step MiB': times * n}
        for series in ('batch_size', 'size', 'width')
        for n in (1, 2, 5)
        for who, times in (('ours', n), ('mmdet', 2 * n**1.5))
    ]
    said = growth.verdict(rows)
    assert 'time over batch: ours 1.00, mmdet 1.50, mmdet takes 2.00 to 4.47 times; ' in said
    assert said.endswith('memory over width: ours 2.00, mmdet 2.50, mmdet takes 2.00 to 4.47 times')
    growth.plot(rows, str(tmp_path / 'a.png'), 'title')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_every_point_is_measured_beside_mmdet(tmp_path):
    (result,) = WORK['growth'](request(tmp_path, batches=[1, 8]))
    rows = result['rows']
    names = [f'batch_size {n}, {who}' for n in (1, 8) for who in ('ours', 'mmdet')]
    assert [row['name'] for row in rows] == names
    for (_, small), (_, large) in growth.curves(rows, 'batch_size', 'step MiB').values():
        assert 0 < small < large
    assert all(row['median ms'] > 0 for row in rows)
    assert any('batch of one image' in note for note in result['notes'])
    assert (tmp_path / 'growth.png').stat().st_size > 5000


@pytest.mark.parametrize('width', [0.35, 1.4])
def test_a_width_is_that_of_neck_and_head(width):
    cfg = config('ssdlite_mbv2_coco')
    for scope, each in ((None, cfg), ('mmdet', peer_config('mmdet', cfg, SIZE))):
        before = each.model.bbox_head.in_channels
        set_width(each.model, width, scope)
        model = build_random(each, scope).eval()
        maps = model.extract_feat(torch.zeros(1, 3, *SIZE))
        channels = [feature.shape[1] for feature in maps]
        assert channels == list(each.model.bbox_head.in_channels)
        assert channels[0] == pytest.approx(width * before[0], abs=8 * 6)
        assert channels[2:] == list(before[2:])


@pytest.mark.parametrize(
    ('name', 'points', 'said'),
    [
        ('deeplabv3_mbv2_sample', dict(), 'it needs a detector'),
        ('ssdlite_mbv2_sample', dict(batches=[0, 2]), '--batches must be two or more values of at'),
        ('ssdlite_mbv2_sample', dict(sizes=[64, 64]), '--sizes must be two or more values'),
    ],
)
def test_points_without_growth_are_refused(name, points, said, tmp_path):
    with pytest.raises(UserError, match=said):
        WORK['growth'](request(tmp_path, name, **points))
