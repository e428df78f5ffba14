"""Accuracy and confusion against counting by hand."""

import numpy as np
import pytest
import torch

from mbv2_backbone.cls import ClassAccuracy
from mbv2_backbone.cls.class_metrics import rank


def evaluate(scores, labels, classes=None, **kwargs):
    metric = ClassAccuracy(**kwargs)
    metric.dataset_meta = dict(classes=classes) if classes else None
    samples = [
        dict(pred_scores=torch.from_numpy(row), gt_label=torch.tensor(int(label)))
        for row, label in zip(scores, labels, strict=True)
    ]
    for start in range(0, len(samples), 3):
        metric.process({}, samples[start : start + 3])
    return metric, metric.evaluate(len(samples))


@pytest.mark.parametrize('num_classes', [2, 6, 51])
def test_shares_and_confusion_are_those_counted_one_by_one(num_classes):
    rng = np.random.default_rng(num_classes)
    scores, labels = rng.random((40, num_classes)), rng.integers(num_classes, size=40)
    metric, found = evaluate(scores, labels)
    order = [sorted(range(num_classes), key=lambda c: -row[c]) for row in scores.tolist()]
    expected = {}
    for k in (1, 5):
        if k < num_classes:
            right = [label in best[:k] for best, label in zip(order, labels, strict=True)]
            expected[f'accuracy/top{k}'] = pytest.approx(sum(right) / 40 * 100, abs=0.01)
    confusion = [[0] * num_classes for _ in range(num_classes)]
    for best, label in zip(order, labels, strict=True):
        confusion[label][best[0]] += 1
    if num_classes <= 50:
        for c, row in enumerate(confusion):
            if sum(row):
                expected[f'accuracy/{c}'] = pytest.approx(row[c] / sum(row) * 100, abs=0.01)
    assert found == expected
    assert metric.confusion.tolist() == confusion


def test_classes_are_named_and_those_without_images_left_out():
    _, found = evaluate(np.eye(3), [0, 1, 1], classes=('cat', 'dog', 'owl'))
    assert found == {'accuracy/top1': 66.67, 'accuracy/cat': 100.0, 'accuracy/dog': 50.0}


@pytest.mark.parametrize(
    ('scores', 'ranks'),
    [((0.2, 0.5, 0.3), (2, 0, 1)), ((0.5, 0.5, 0.0), (0, 1, 2)), ((np.nan, 1, 0), (3, 3, 3))],
)
def test_of_equal_scores_the_first_class_wins_and_nan_never_does(scores, ranks):
    assert tuple(rank(np.array(scores), label) for label in range(3)) == ranks
