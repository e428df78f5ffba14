"""What the field's evaluators make of ids and of what a file leaves out, and mmdet's other metrics.

docs/training.md has the same as a table. Where an assertion about another package fails after an
update, that package has changed, and the table with it.
"""

import json
import pickle

import faster_coco_eval
import numpy as np
import pytest
from helpers.metrics import changed, draw_without_ties, found, masks_of_boxes, save
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mbv2_backbone.det.metrics import OWN_METRICS
from mbv2_backbone.det.numbered import CompletedTruth


@pytest.fixture
def drawn(tmp_path):
    """A file whose categories are in the order of their ids, its content, and detections."""
    _, data, samples = draw_without_ties(tmp_path)
    data['categories'].reverse()
    for sample in samples:
        found(sample)['labels'] = 5 - found(sample)['labels']
    data['images'] = changed(data['images'], lambda n, _: dict(file_name=f'{n}.jpg'))
    return data, samples


def rows_of(samples):
    """Return detections as COCO's results file lists them."""
    rows = []
    for sample in samples:
        columns = (found(sample)[key].tolist() for key in ('bboxes', 'labels', 'scores'))
        for (x1, y1, x2, y2), label, score in zip(*columns, strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            row = dict(image_id=sample['img_id'], category_id=5 + label, bbox=box, score=score)
            rows.append(row)
    return rows


def stats(api, evaluation, path, rows):
    """Return AP, and AP of small, medium and large objects."""
    truth = api(path)
    done = evaluation(truth, truth.loadRes([dict(row) for row in rows]), 'bbox')
    done.evaluate()
    done.accumulate()
    done.summarize()
    return np.round(np.array(done.stats)[[0, 3, 4, 5]], 3).tolist()


def test_what_pycocotools_and_faster_coco_eval_do(tmp_path, drawn):
    """pycocotools 2.0.11 and faster-coco-eval 1.8.0, used as their READMEs say."""
    data, samples = drawn
    rows = rows_of(samples)

    def both(change, rows=rows, drop=(), images=data['images']):
        annotations = changed(data['annotations'], change)
        for item in annotations:
            for key in drop:
                del item[key]
        path = save(tmp_path, data, annotations=annotations, images=images)
        for pair in ((COCO, COCOeval), (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster)):
            try:
                yield stats(*pair, path, rows)
            except Exception as error:
                yield type(error)

    right, same = both(lambda *_: {})
    assert right == same
    all_small = pytest.approx([right[0], 0.3, -1, -1], abs=0.2)
    nothing = [0, 0, 0, 0]
    assert all(0 < f[0] < right[0] for f in both(lambda n, _: dict(id=n - 1)))
    assert all(f[0] < 0.6 * right[0] for f in both(lambda n, _: dict(id=n // 2)))
    assert [*both(lambda n, _: dict(id=f'a{n}'))] == [ValueError, TypeError]
    assert [*both(lambda n, _: dict(id=f'{n:05}'))] == [right, TypeError]
    assert [*both(lambda n, _: dict(id=-n))] == [right, nothing]
    assert [*both(lambda n, _: dict(id=2**63 + n))] == [right, nothing]
    assert [*both(lambda *_: {}, drop=['id'])] == [KeyError, KeyError]
    assert [*both(lambda *_: {}, drop=['area'])] == [KeyError, all_small]
    assert [*both(lambda *_: dict(area=0))] == [all_small, all_small]
    crowds = [*both(lambda *_: {}, drop=['iscrowd'])]
    assert crowds[0] is KeyError
    assert [*both(lambda *_: dict(iscrowd='0'))] == [[-1] * 4, crowds[1]]
    for number, expected in (
        (lambda n: f'id {n}', [right, ValueError]),
        (lambda n: 2**63 + n, [right, RuntimeError]),
    ):
        images = changed(data['images'], lambda _, row, to=number: dict(id=to(row['id'])))
        others = [row | dict(image_id=number(row['image_id'])) for row in rows]
        got = both(
            lambda _, row, to=number: dict(image_id=to(row['image_id'])), others, images=images
        )
        assert [*got] == expected


def evaluate(kind, data, samples, tmp_path, annotations, **kwargs):
    path = save(tmp_path, data, annotations=annotations)
    metric = METRICS.build(dict(type=kind, ann_file=path, **kwargs))
    names = tuple(item['name'] for item in data['categories'])
    metric.dataset_meta = dict(classes=names, base_classes=names[:3], novel_classes=names[3:])
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def incomplete(data):
    """Return the annotations with ids from 0, without areas and `iscrowd`."""
    rows = changed(data['annotations'], lambda n, _: dict(id=n - 1))
    for row in rows:
        del row['area'], row['iscrowd']
    return rows


@pytest.fixture
def no_crowds(drawn):
    data, samples = drawn
    return data | dict(
        annotations=changed(data['annotations'], lambda *_: dict(iscrowd=0))
    ), samples


@pytest.mark.parametrize(
    'name', ['FasterCocoMetric', 'OVCocoMetric', 'CocoOccludedSeparatedMetric']
)
def test_metrics_of_mmdet_derived_from_the_one_of_coco(tmp_path, no_crowds, name):
    data, samples = no_crowds
    kwargs = {}
    if name == 'CocoOccludedSeparatedMetric':
        masks_of_boxes(samples, data)
        for i, key in enumerate(('occluded_ann', 'separated_ann')):
            item, label = i + 1, int(found(samples[i + 1])['labels'][0])
            mask = found(samples[item])['masks'][0]
            content = [(f'{item + 1}.jpg', f'class {5 - label}', None, [0, 0, 9, 9], mask)]
            (tmp_path / f'{key}.pkl').write_bytes(pickle.dumps(content))
            kwargs[key] = str(tmp_path / f'{key}.pkl')
    expected = evaluate(name, data, samples, tmp_path, data['annotations'], **kwargs)
    got = evaluate(OWN_METRICS[name], data, samples, tmp_path, incomplete(data), **kwargs)
    assert got == pytest.approx(expected)
    assert 0.01 < got['coco/bbox_mAP'] < 0.9


def long_names(data, samples):
    """DODCocoMetric divides by the number of names of each of four lengths, and takes ids."""
    words = (1, 4, 7, 10, 2, 5)
    rows = zip(data['categories'], words, strict=True)
    data = data | dict(categories=[row | dict(name='a ' * (n - 1) + 'b') for row, n in rows])
    ids = np.array([row['id'] for row in data['categories']])
    return data, [sample | dict(sent_ids=ids) for sample in samples]


def test_metrics_whose_images_and_categories_keep_their_ids(tmp_path, no_crowds):
    data, samples = long_names(*no_crowds)
    expected = evaluate('DODCocoMetric', data, samples, tmp_path, data['annotations'])
    got = evaluate(OWN_METRICS['DODCocoMetric'], data, samples, tmp_path, incomplete(data))
    assert got == expected
    assert 0.01 < got['dod/mAP'] < 0.9


def test_the_ids_of_a_completed_file_stay(tmp_path, no_crowds):
    data, _ = no_crowds
    metric = METRICS.build(dict(type=OWN_METRICS['DODCocoMetric'], ann_file=save(tmp_path, data)))
    assert isinstance(metric, CompletedTruth)
    kept = metric._coco_api.dataset
    assert json.dumps(kept['images'] + kept['categories']) == json.dumps(
        data['images'] + data['categories']
    )
