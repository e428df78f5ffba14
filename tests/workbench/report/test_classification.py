"""The section on image classes counts and ranks as done by hand, and is on the page."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from mbv2_backbone.workbench.configs.summary import Classes
from mbv2_backbone.workbench.report.classification import ClassCollector
from mbv2_backbone.workbench.report.hook import speed_of
from mbv2_backbone.workbench.report.render import Part, write_report

CLASSES = Classes(('cat', 'dog', '<owl>'), ((1, 2, 3),) * 3)


def collected(samples):
    collector = ClassCollector(CLASSES)
    for sample in samples:
        collector.add(sample)
    return collector


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for i in range(12):
        path = tmp_path / f'{i}.jpg'
        cv2.imwrite(str(path), rng.integers(0, 256, (20, 30, 3), np.uint8))
        sample = BaseDataElement(metainfo=dict(img_path=str(path), ori_shape=(20, 30)))
        sample.pred_scores = torch.from_numpy(rng.dirichlet((1, 1, 1)))
        sample.gt_label = torch.tensor(int(rng.integers(2)))  # no owl
        found.append(sample)
    return found


def test_counts_shares_and_ranks(samples):
    collector = collected(samples[:5])
    collector.merge([collected(samples[5:])])
    report = collector.report(metrics={'accuracy/top1': 50.0, 'accuracy/cat': 1.0})
    pairs = [(int(s.gt_label), int(s.pred_scores.argmax())) for s in samples]
    counts = [[pairs.count((t, p)) for p in range(3)] for t in range(3)]
    assert report['confusion'] == dict(names=['cat', 'dog', '<owl>'], counts=counts)
    assert report['metrics'] == {'accuracy/top1': 50.0}
    for k, row in enumerate(report['classes']):
        images, found = sum(t == k for t, _ in pairs), sum(p == k for _, p in pairs)
        assert row['images'] == images
        assert row['recall'] == (pytest.approx(100 * counts[k][k] / images) if images else None)
        assert row['precision'] == (pytest.approx(100 * counts[k][k] / found) if found else None)
    worst, best = collector.extremes.worst_and_best()
    order = sorted(samples, key=lambda s: float(s.pred_scores[s.gt_label]))
    paths = [image.path for image in [*worst, *best[::-1]]]
    assert paths == [sample.img_path for sample in order]


def test_the_page_shows_it(samples, tmp_path):
    collector = collected(samples)
    report = collector.report(metrics={'accuracy/top1': 50.0})
    part = Part(report, *collector.extremes.worst_and_best())
    data = dict(
        title='t', checkpoint='c', created='now', command='x', versions={}, config='y',
        speed=speed_of(dict.fromkeys(('data', 'model', 'metric', 'report'), 0.0), 12, 1),
        training=dict(log=None, scalars=[]),
    )  # fmt: skip
    path = write_report(tmp_path / 'report', data, [part])
    page = path.read_text()
    assert '&lt;owl&gt;' in page
    assert 'The 6 worst images' in page
    assert 'truth: ' in page
    assert page.count('data:image/webp') == 12
    (stored,) = json.loads((tmp_path / 'report/report.json').read_text())['parts']
    assert stored['worst'][0].keys() == {'path', 'truth', 'prediction', 'score'}
    assert (tmp_path / 'report/classification_confusion.png').is_file()
