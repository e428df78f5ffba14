"""The checked COCO and VOC datasets drop bad boxes, name them, and refuse wrong classes."""

import json

import cv2
import numpy as np
import pytest
from helpers.dataset import voc_xml

from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset

NAN = float('nan')
SOUND = (10, 10, 20, 30)  # xywh
BAD = {
    (10, 10, 0, 5): 'zero area',
    (10, 10, 5, 0): 'zero area',
    (30, 30, -5, 5): 'inverted',
    (200, 10, 5, 5): 'outside the image',
    (-20, 10, 5, 5): 'outside the image',
    (NAN, 10, 5, 5): 'not finite',
    (10, 10, float('inf'), 5): 'not finite',
}


@pytest.fixture
def coco(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((60, 80, 3), np.uint8))
    annotations = [
        dict(id=i, image_id=1, category_id=7, bbox=list(box), area=9.0, iscrowd=0)
        for i, box in enumerate([SOUND, *BAD])
    ]
    del annotations[0]['area']
    file = dict(
        images=[dict(id=1, file_name='a.jpg', width=80, height=60)],
        categories=[dict(id=7, name='cat'), dict(id=9, name='dog')],
        annotations=annotations,
    )
    (tmp_path / 'ann.json').write_text(json.dumps(file))
    return dict(data_root=str(tmp_path), ann_file='ann.json', data_prefix=dict(img=''))


def test_coco_drops_and_names_each_bad_box(coco, log):
    dataset = CheckedCocoDataset(**coco, metainfo=dict(classes=('cat', 'dog')), pipeline=[])
    assert [i['bbox'] for i in dataset.get_data_info(0)['instances']] == [[10, 10, 30, 40]]
    got = [(name, json.dumps(box), why) for name, box, why in dataset.dropped_boxes]
    assert got == [('a.jpg', json.dumps(box), why) for box, why in BAD.items()]
    assert len(log) == 1
    for box in BAD:
        assert f'a.jpg: {[*box]}' in log[0]


def test_the_steps_of_a_pipeline_keep_their_tuples(coco):
    steps = [dict(type='LoadImageFromFile'), dict(type='RandomResize', scale=(32, 24),
             ratio_range=(1, 2))]  # fmt: skip
    dataset = CheckedCocoDataset(**coco, metainfo=dict(classes=('cat', 'dog')), pipeline=steps)
    load, resize = dataset.pipeline.transforms
    assert type(load).__name__ == 'LoadImageAsAnnotated'
    assert resize.scale == (32, 24)  # a list ends in NotImplementedError


def write_voc_image(folder, boxes):
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / 'JPEGImages/a.jpg'), np.zeros((60, 80, 3), np.uint8))
    (folder / 'Annotations/a.xml').write_text(voc_xml((80, 60), boxes))
    (folder / 'ImageSets/Main/train.txt').write_text('a\n')


def voc(folder, **kwargs):
    return CheckedVOCDataset(
        data_root=str(folder),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('cat', 'dog')),
        pipeline=[],
        **kwargs,
    )


def test_voc_drops_and_names_each_bad_box(tmp_path, log):
    write_voc_image(tmp_path, [
        ('cat', (11, 11, 31, 41)), ('cat', (20, 20, 20, 30)), ('dog', (30, 5, 10, 9)),
        ('dog', ('nan', 5, 10, 9)), ('cat', (90, 5, 95, 9)), ('horse', (5, 5, 5, 5)),
    ])  # fmt: skip
    dataset = voc(tmp_path)
    info = dataset.get_data_info(0)
    assert [i['bbox'] for i in info['instances']] == [[10, 10, 30, 40]]
    assert [why for _, _, why in dataset.dropped_boxes] == [
        'zero area', 'inverted', 'not finite', 'outside the image',
    ]  # fmt: skip
    assert dataset.dropped_boxes[0][:2] == ('a.xml', (20, 20, 20, 30))
    text, others = log
    assert others.endswith('other classes: horse (1)')
    assert 'a.xml: (20, 20, 20, 30) zero area' in text
    assert text.startswith('Dropped 4 box(es)')


def test_many_dropped_boxes_do_not_flood_the_log(tmp_path, log):
    write_voc_image(tmp_path, [('cat', (5, 5, 5, 9))] * 80)
    voc(tmp_path)
    lines = log[0].splitlines()
    assert (len(lines), lines[-1]) == (52, '  and 30 more')


def test_classes_that_the_file_does_not_have_are_refused(coco):
    with pytest.raises(ValueError, match=r"'bird'.*cat, dog"):
        CheckedCocoDataset(**coco, metainfo=dict(classes=('cat', 'bird')), pipeline=[])


def test_voc_files_with_none_of_the_classes_are_refused(tmp_path):
    write_voc_image(tmp_path, [('horse', (5, 5, 9, 9))])
    with pytest.raises(ValueError, match='horse'):
        voc(tmp_path)
