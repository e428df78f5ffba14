"""A report's page: its text, its numbers, and no references to other places."""

import json

import numpy as np
import pytest

from mbv2_backbone.workbench.report.hook import speed_of
from mbv2_backbone.workbench.report.render import (
    Part,
    clean,
    confusions,
    figure,
    spark,
    write_report,
)


def test_a_small_curve_goes_down_from_the_upper_left():
    points = [tuple(map(int, p.split(','))) for p in spark(np.linspace(1, 0, 101)).split()]
    assert points[0] == (0, 0)
    assert points[-1] == (100, 100)
    assert len(points) == 26


def test_the_most_confused_classes_come_first():
    rows = confusions(['a', 'b', 'c'], [[5, 5, 0], [1, 8, 1], [0, 0, 0]])
    assert [(r['truth'], r['prediction'], r['count'], r['share']) for r in rows] == [
        ('a', 'b', 5, 0.5), ('b', 'a', 1, 0.1), ('b', 'c', 1, 0.1),
    ]  # fmt: skip


def test_figures_as_text():
    values = (None, -1.0, 0.33, 1.0, 57.5, 1234567, 0)
    dash = '\N{EN DASH}'
    assert [figure(v) for v in values] == [dash, dash, '0.330', '1.000', '57.50', '1,234,567', '0']
    content = clean({1: [np.float32(0.5), float('nan'), np.int64(3), (None, 'x')]})
    assert content == {'1': [0.5, None, 3, [None, 'x']]}
    assert json.dumps(content, allow_nan=False)


def test_a_page_shows_names_as_text_and_has_no_reference_to_anything_outside(tmp_path):
    hostile = '<b>&"</script><script>document.title = 1</script>'
    report = dict(
        task='segmentation', metrics={'mIoU': 50.0, f'IoU/{hostile}': None}, has_truth=True,
        classes=[dict(name=hostile, iou=None, acc=float('nan'), pixels=0)], palette=[[1, 2, 3]],
        confusion=dict(names=[hostile], counts=[[0]]),
    )  # fmt: skip
    data = dict(
        title=hostile, checkpoint=hostile, created='now', command=hostile,
        versions={'torch': hostile}, config=hostile,
        speed=speed_of(dict.fromkeys(('data', 'model', 'metric'), 0.0), 0, 1),
        training=dict(log=None, scalars=[]),
    )  # fmt: skip
    for name in ('segmentation_confusion.png', 'report.html'):  # of an earlier report
        (tmp_path / name).write_text('earlier')
    with pytest.raises(KeyError):
        write_report(tmp_path, dict(data, training={}), [Part(report, [], [])])
    assert {path.read_text() for path in tmp_path.iterdir()} == {'earlier'}
    path = write_report(tmp_path, data, [Part(report, [], [])])
    page = path.read_text()
    assert '<b>' not in page
    assert '&lt;b&gt;&amp;' in page
    assert page.count('<script>') == page.count('</script>') == 1
    assert 'http' not in page.replace('http-equiv', '')
    assert 'No training log was found' in page
    assert (
        json.loads((tmp_path / 'report.json').read_text())['parts'][0]['classes'][0]['acc'] is None
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ['report.html', 'report.json']
