"""Our COCO metric against mmdet and pycocotools."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.metrics import draw_coco, evaluate_by
from mmdet.evaluation import CocoMetric
from mmdet.evaluation.metrics import coco_metric
from pycocotools.cocoeval import COCOeval

from mbv2_backbone.det import metrics as module
from mbv2_backbone.det.metrics import FastCocoMetric, class_ap50


@pytest.fixture
def evaluations(monkeypatch):
    """Collect the evaluations made by classes of pycocotools and ours."""
    made = []
    summarize = COCOeval.summarize

    def keep(self):
        summarize(self)
        made.append(SimpleNamespace(stats=self.stats, kind=type(self).__name__, **self.eval))

    monkeypatch.setattr(COCOeval, 'summarize', keep)
    return made


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(metric='bbox', classwise=True),
        dict(metric='proposal'),
        dict(metric=['bbox', 'proposal'], proposal_nums=(1, 10, 100)),
        dict(metric='bbox', iou_thrs=np.array([0.5, 0.75])),
        dict(metric='bbox', metric_items=['mAP', 'AR@300', 'AR_s@1000']),
    ],
    ids=str,
)
def test_figures_equal_those_of_pycocotools(tmp_path, kwargs, evaluations):
    for seed in range(3):
        ann_file, samples = draw_coco(tmp_path, seed)
        expected = evaluate_by(CocoMetric(ann_file=ann_file, **kwargs), samples)
        got = evaluate_by(FastCocoMetric(ann_file=ann_file, **kwargs), samples)
        assert {key for key in got if not key.endswith('_50_precision')} == expected.keys()
        for key, value in expected.items():  # rounded to three places by mmdet
            if not key.endswith('_precision'):  # test_numbered.py compares those of the classes
                assert got[key] == pytest.approx(value, abs=1e-6, nan_ok=True), key
        theirs, ours = evaluations[: len(evaluations) // 2], evaluations[len(evaluations) // 2 :]
        assert len(ours) == sum(
            name in ('bbox', 'proposal') for name in np.atleast_1d(kwargs['metric'])
        )
        for a, b in zip(ours, theirs, strict=True):
            assert (a.kind, b.kind) == ('FastCOCOeval', 'COCOeval')
            assert 0.01 < b.stats[0] < 0.9 or b.stats[0] == -1
            np.testing.assert_allclose(a.stats, b.stats, rtol=0, atol=1e-6)
            # Our categories are in the order of the labels, theirs in that of the ids, 10 to 5.
            columns = slice(None, None, -1) if b.precision.shape[2] > 1 else slice(None)
            for name in ('precision', 'recall'):
                reference = getattr(b, name)[..., columns, :, :]
                np.testing.assert_allclose(getattr(a, name), reference, rtol=0, atol=1e-6)
        evaluations.clear()


def test_map_is_over_100_detections_as_in_pycocotools(tmp_path):
    """The summary of faster-coco-eval uses 1000; the random data must show the difference."""
    from faster_coco_eval import COCOeval_faster

    ann_file, samples = draw_coco(tmp_path, 0, num_classes=2, detections=300)
    figures = []
    for own_summary in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if own_summary:
                patch.setattr(module, 'eval_class', lambda _: COCOeval_faster)
            metric = FastCocoMetric(ann_file=ann_file, metric_items=['mAP'])
            figures.append(evaluate_by(metric, samples, 2)['coco/bbox_mAP'])
    expected = evaluate_by(CocoMetric(ann_file=ann_file, metric_items=['mAP']), samples, 2)
    assert figures[0] == expected['coco/bbox_mAP']
    assert figures[1] != expected['coco/bbox_mAP']


def test_pycocotools_is_used_on_request(tmp_path, evaluations):
    ann_file, samples = draw_coco(tmp_path, 0)
    evaluate_by(FastCocoMetric(ann_file=ann_file, backend='pycocotools'), samples)
    assert [found.kind for found in evaluations] == ['COCOeval']


def test_without_the_fast_backend_pycocotools_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(module, 'find_spec', lambda name: name == 'pycocotools' or None)
    ann_file, _ = draw_coco(tmp_path, 0)
    assert FastCocoMetric(ann_file=ann_file).backend == 'pycocotools'
    for backend in ('faster_coco_eval', 'cocoapi'):
        with pytest.raises(ValueError, match='pip install faster-coco-eval'):
            FastCocoMetric(ann_file=ann_file, backend=backend)


def test_mmdets_own_metric_keeps_its_backend(tmp_path):
    ann_file, samples = draw_coco(tmp_path, 0)
    before = coco_metric.COCOeval
    evaluate_by(FastCocoMetric(ann_file=ann_file), samples)
    assert coco_metric.COCOeval is before


def test_the_results_file_equals_mmdets(tmp_path):
    ann_file, samples = draw_coco(tmp_path, 0)
    texts = []
    for kind in (CocoMetric, FastCocoMetric):
        prefix = tmp_path / kind.__name__ / 'found'
        evaluate_by(kind(ann_file=ann_file, format_only=True, outfile_prefix=str(prefix)), samples)
        texts.append(Path(f'{prefix}.bbox.json').read_text())
    assert texts[0] == texts[1]
    assert len(json.loads(texts[1])) == sum(len(s['pred_instances']['scores']) for s in samples)


def test_boxes_from_the_dataset_instead_of_a_file(tmp_path):
    _, samples = draw_coco(tmp_path, 0)
    for sample in samples:
        boxes, labels = (sample['pred_instances'][key][::4] for key in ('bboxes', 'labels'))
        pairs = zip(boxes.tolist(), labels.tolist(), strict=True)
        sample['instances'] = [dict(bbox=box, bbox_label=label) for box, label in pairs]
    expected = evaluate_by(CocoMetric(), samples)
    assert evaluate_by(FastCocoMetric(), samples) == expected
    for sample in samples:  # as in VOC
        sample['img_id'] = f'{sample["img_id"]:05}'
    assert evaluate_by(FastCocoMetric(), samples) == expected


def without_detections(sample):
    found = {key: value[:0] for key, value in sample['pred_instances'].items()}
    return dict(sample, pred_instances=found)


@pytest.mark.parametrize('backend', ['faster_coco_eval', 'pycocotools'])
def test_no_detections_give_metrics_of_0(tmp_path, backend):
    path, samples = draw_coco(tmp_path, seed=0)
    metric = FastCocoMetric(ann_file=path, classwise=True, backend=backend)
    some = evaluate_by(metric, samples)
    none = evaluate_by(metric, [without_detections(sample) for sample in samples])
    assert none.keys() == some.keys()
    # For the class without a box mmdet gives NaN in both.
    assert np.nanmax(list(some.values())) > 0
    assert {value for value in none.values() if not np.isnan(value)} <= {0, -1}
    assert metric.precision is None


def test_one_detection_gives_the_figures_of_pycocotools(tmp_path):
    path, samples = draw_coco(tmp_path, seed=0)
    only = [without_detections(sample) for sample in samples[:-1]] + samples[-1:]
    ours, theirs = (evaluate_by(kind(ann_file=path), only) for kind in (FastCocoMetric, CocoMetric))
    assert ours == theirs


def test_ap50_of_each_class_that_has_truth():
    precision = np.random.default_rng(0).random((10, 101, 3, 4))
    precision[:, :, 1] = -1
    at_50 = precision[0, :, :, 0].mean(axis=0)
    expected = dict(a_50_precision=at_50[0], c_50_precision=at_50[2])
    assert class_ap50(precision, ('a', 'b', 'c')) == pytest.approx(expected, abs=5e-4)
