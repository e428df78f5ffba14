"""Figures do not depend on the ids in the files, nor on areas and `iscrowd` left out."""

import json
from pathlib import Path

import pytest
from helpers.metrics import changed, draw_without_ties, evaluate_by, found, masks_of_boxes, save
from mmdet.evaluation import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det.metrics import FastCocoMetric

BACKENDS = ('faster_coco_eval', 'pycocotools')
SIZES = [f'coco/bbox_mAP{size}' for size in ('', '_50', '_75', '_s', '_m', '_l')]
# Of an id from 1; the last have the same double, which faster-coco-eval compares.
SCHEMES = {
    'from 0': lambda n: n - 1,
    'negative': lambda n: -n,
    'text': lambda n: f'id {n}',
    'digits as text': lambda n: f'{n:05}',
    'fractions': float,
    'more than 53 bits': lambda n: 2**53 + n,
    'more than 63 bits': lambda n: 2**63 + n,
    'more than 64 bits': lambda n: 2**70 + n,
    'mixed': lambda n: (n - 1, f'{n}', -n)[n % 3],
}


@pytest.fixture
def drawn(tmp_path):
    return draw_without_ties(tmp_path)


def figures(path, samples, backend=None, **kwargs):
    return evaluate_by(FastCocoMetric(ann_file=path, backend=backend, **kwargs), samples)


@pytest.mark.parametrize('backend', BACKENDS)
def test_ids_of_annotations(tmp_path, drawn, backend):
    """Two things are wrong with ids in pycocotools 2.0.11 and faster-coco-eval 1.8.0.

    A match with an object is noted by its id, and 0 means none; of equal ids the last counts.
    """
    path, data, samples = drawn
    expected = evaluate_by(CocoMetric(ann_file=path), samples)
    assert 0.05 < expected['coco/bbox_mAP'] < 0.9
    schemes = SCHEMES | {'equal': lambda n: n // 2, 'missing': lambda _: None}
    for name, scheme in schemes.items():
        rows = changed(data['annotations'], lambda n, _, scheme=scheme: dict(id=scheme(n)))
        assert figures(save(tmp_path, data, annotations=rows), samples, backend) == expected, name
    for row in rows:
        del row['id']
    assert figures(save(tmp_path, data, annotations=rows), samples, backend) == expected


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_ids_of_images_and_categories(tmp_path, drawn, backend, scheme):
    path, data, samples = drawn
    expected = evaluate_by(CocoMetric(ann_file=path), samples)
    number = SCHEMES[scheme]
    renamed = save(
        tmp_path,
        data,
        images=changed(data['images'], lambda _, row: dict(id=number(row['id']))),
        categories=changed(data['categories'], lambda _, row: dict(id=number(row['id']))),
        annotations=changed(
            data['annotations'],
            lambda _, row: {k: number(row[k]) for k in ('id', 'image_id', 'category_id')},
        ),
    )
    others = [sample | dict(img_id=number(sample['img_id'])) for sample in samples]
    assert figures(renamed, others, backend) == expected


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('area', [None, 0, -5, '70', float('nan'), True, 'missing'])
def test_an_area_that_is_not_stated_is_the_boxs(tmp_path, drawn, backend, area):
    path, data, samples = drawn
    expected = evaluate_by(CocoMetric(ann_file=path), samples)
    assert len({expected[key] for key in SIZES}) == 6
    rows = changed(data['annotations'], lambda *_: dict(area=area))
    for row in rows if area == 'missing' else ():
        del row['area']
    assert figures(save(tmp_path, data, annotations=rows), samples, backend) == expected


def test_where_masks_are_compared_the_area_is_the_masks(tmp_path, drawn):
    _, data, samples = drawn
    masks_of_boxes(samples, data)
    expected = evaluate_by(CocoMetric(ann_file=save(tmp_path, data), metric='segm'), samples)
    assert 0.01 < expected['coco/segm_mAP_m'] < 0.9
    rows = changed(data['annotations'], lambda *_: dict(area=0))
    path = save(tmp_path, data, annotations=rows)
    assert figures(path, samples, 'pycocotools', metric='segm') == expected


@pytest.mark.parametrize('without', [None, [], [0, 0, 0, 0]])
def test_a_box_that_is_not_stated_is_the_outlines(tmp_path, drawn, without):
    path, data, samples = drawn
    expected = evaluate_by(CocoMetric(ann_file=path), samples)
    boxes = [row['bbox'] for row in data['annotations']]
    outlines = [[[x, y, x, y + h, x + w, y + h]] for x, y, w, h in boxes]
    rows = changed(
        data['annotations'], lambda n, _: dict(segmentation=outlines[n - 1], bbox=without)
    )
    images = changed(data['images'], lambda *_: dict(width=1000, height=1000))  # none is cut
    assert figures(save(tmp_path, data, images=images, annotations=rows), samples) == expected


@pytest.mark.parametrize('backend', BACKENDS)
def test_crowds_in_any_notation(tmp_path, drawn, backend):
    path, data, samples = drawn
    expected = evaluate_by(CocoMetric(ann_file=path), samples)
    for no, yes in (('0', '1'), (False, True), (None, 1.0), ('false', 'True'), ('', 1)):
        rows = changed(
            data['annotations'],
            lambda _, row, is_crowd=(no, yes): dict(iscrowd=is_crowd[row['iscrowd']]),
        )
        assert figures(save(tmp_path, data, annotations=rows), samples, backend) == expected
    none = changed(data['annotations'], lambda *_: dict(iscrowd=0))
    expected = evaluate_by(CocoMetric(ann_file=save(tmp_path, data, annotations=none)), samples)
    for row in none:
        del row['iscrowd']
    assert figures(save(tmp_path, data, annotations=none), samples, backend) == expected


def test_the_ap_of_each_class_is_its_own(drawn):
    """mmdet 3.5.1 lists the classes in the file's order, and their AP in that of the ids."""
    path, _, samples = drawn
    got = figures(path, samples, classwise=True)
    theirs = evaluate_by(CocoMetric(ann_file=path, classwise=True), samples)
    assert got['coco/class 0_precision'] == theirs['coco/class 5_precision']
    truth = COCO(path)
    rows = [
        dict(image_id=sample['img_id'], category_id=10 - label, score=score,
             bbox=[x1, y1, x2 - x1, y2 - y1])
        for sample in samples
        for (x1, y1, x2, y2), label, score in zip(
            *(found(sample)[key].tolist() for key in ('bboxes', 'labels', 'scores')), strict=True
        )
    ]  # fmt: skip
    for label in range(5):
        alone = COCOeval(truth, truth.loadRes([dict(row) for row in rows]), 'bbox')
        alone.params.catIds = [10 - label]
        alone.evaluate()
        alone.accumulate()
        alone.summarize()
        assert got[f'coco/class {label}_precision'] == pytest.approx(alone.stats[0], abs=6e-4)


def with_instances(samples, data):
    """Hand over the objects of the file as a dataset does."""
    boxes = {sample['img_id']: [] for sample in samples}
    for item in data['annotations']:
        x, y, w, h = item['bbox']
        boxes[item['image_id']].append(
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=10 - item['category_id'],
                ignore_flag=item['iscrowd'],
            )
        )
    return [sample | dict(instances=boxes[sample['img_id']]) for sample in samples]


@pytest.mark.parametrize('scheme', ['the same in two files', 'names', 'from 0'])
def test_boxes_of_the_datasets_need_no_ids(drawn, scheme):
    path, data, samples = drawn
    expected = evaluate_by(CocoMetric(ann_file=path), samples)
    both = with_instances(samples, data)
    for n, sample in enumerate(both):
        sample['img_path'] = f'{n % 2}/{n}.jpg'
        sample['img_id'] = dict(names=f'{n:05}').get(scheme, n // (1 + (scheme[0] == 't')))
    metric = FastCocoMetric()
    assert evaluate_by(metric, both) == expected
    # A later evaluation may see the images in another order.
    assert evaluate_by(metric, both[::-1]) == expected


def test_images_that_the_file_does_not_list_are_refused(tmp_path, drawn):
    _, data, samples = drawn
    names = save(
        tmp_path, data, images=changed(data['images'], lambda n, _: dict(file_name=f'in/{n}.jpg'))
    )
    named = [sample | dict(img_path=f'x/in/{n}.jpg') for n, sample in enumerate(samples, 1)]
    assert figures(names, named) == figures(names, samples)
    for other, said in (
        (named[0] | dict(img_id=2), 'has no image 2, but the data loader has x/in/1.jpg'),
        (named[0] | dict(img_path='x/in/2.jpg'), 'has in/1.jpg with the id 1, but the data loader'),
    ):
        with pytest.raises(UserError, match=said):
            figures(names, [other, *named[1:]])
    with pytest.raises(UserError, match='have the same id, 1'):
        figures(names, [*named, named[0] | dict(img_path='y/in/1.jpg')])
    with pytest.raises(UserError, match=r"changed.json has no category 'class 6'"):
        evaluate_by(FastCocoMetric(ann_file=names), named, num_classes=7)


def test_images_that_were_not_predicted_are_counted(drawn, log):
    path, _, samples = drawn
    assert figures(path, samples[:-3]) == evaluate_by(CocoMetric(ann_file=path), samples[:-3])
    assert any('3 of 16 images' in line and 'count as missed' in line for line in log)


@pytest.mark.parametrize('number', [lambda n: n, lambda n: f'id {n}'], ids=['numbers', 'text'])
def test_written_predictions_have_the_ids_of_the_file(tmp_path, drawn, number):
    path, data, samples = drawn
    prefix = str(tmp_path / 'out' / 'found')
    theirs = CocoMetric(ann_file=path, format_only=True, outfile_prefix=str(tmp_path / 'theirs'))
    evaluate_by(theirs, samples)
    expected = json.loads((tmp_path / 'theirs.bbox.json').read_text())
    renamed = save(
        tmp_path, data,
        images=changed(data['images'], lambda _, row: dict(id=number(row['id']))),
        annotations=changed(
            data['annotations'], lambda _, row: dict(image_id=number(row['image_id']))
        ),
    )  # fmt: skip
    others = [sample | dict(img_id=number(sample['img_id'])) for sample in samples]
    expected = [row | dict(image_id=number(row['image_id'])) for row in expected]
    for more in (dict(format_only=True), {}):
        got = figures(renamed, others, outfile_prefix=prefix, **more)
        assert bool(got) == (not more)
        written = json.loads(Path(f'{prefix}.bbox.json').read_text())
        assert sorted(written, key=json.dumps) == sorted(expected, key=json.dumps)
        Path(f'{prefix}.bbox.json').unlink()
