"""Faulty annotations: fixable ones are reported, others refused."""

import pytest
from helpers.fault import LAZY, LOAD, coco, coco_file, jpeg, smooth_pixels
from mmengine.registry import init_default_scope

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det import CheckedVOCDataset


def test_annotations_of_missing_images_are_counted(tmp_path, log):
    data = coco_file(dict(a=(80, 60)))
    data['annotations'].append(dict(data['annotations'][0], id=77, image_id=5))
    assert len(coco(tmp_path, data)) == 1
    assert any('1 annotation(s) for images that it does not list' in line for line in log)


def test_coco_files_that_would_mislead_are_refused(tmp_path):
    good = coco_file(dict(a=(80, 60), b=(80, 60)))
    cat, dog = dict(id=1, name='cat'), dict(id=2, name='dog')

    def refused(data, match, classes=('disc',)):
        with pytest.raises(UserError, match=match) as info:
            coco(tmp_path, data, classes=classes)
        assert 'a.json' in str(info.value)

    refused('', 'is not a COCO JSON file')
    refused('{"images": [', 'is not a COCO JSON file')
    refused('[' * 100_000, 'is not a COCO JSON file')
    refused([], 'list')
    refused(dict(good, images=None), 'no list `images`')
    refused(dict(good, images=[]), 'lists no images')
    refused(dict(good, images=[*good['images'], good['images'][0]]), 'several images with the id 0')
    refused(dict(good, categories=[cat, dict(dog, id=1)]), 'several categories with the id 1')
    refused(dict(good, categories=[cat, dict(cat, id=2)]), "several categories named 'cat'")
    refused(dict(good, images=[dict(good['images'][0], width=0)]), 'width 0 for a.jpg')
    refused(dict(good, annotations=[dict(id=1, bbox=[1, 1, 2, 2])]), 'without image_id')
    refused(dict(good, categories=[cat, dog]), 'a different order', classes=('dog', 'cat'))
    coco(tmp_path, dict(good, categories=[cat, dog]), classes=('cat', 'dog'))


def test_coco_category_ids_with_gaps(tmp_path, log):
    data = coco_file(dict(a=(80, 60)), dict(a=[[1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9]]))
    data['categories'] = [dict(id=40, name='cat'), dict(id=7, name='dog'), dict(id=9, name='cow')]
    for annotation, category in zip(data['annotations'], (7, 40, 9), strict=True):
        annotation['category_id'] = category
    data['annotations'].append(dict(data['annotations'][0], id=99, category_id=8))
    dataset = coco(tmp_path, data, classes=('cat', 'dog'))
    labels = {i['bbox'][0]: i['bbox_label'] for i in dataset.get_data_info(0)['instances']}
    assert labels == {1: 1, 2: 0}
    assert 'unknown category 8' in log[0]
    assert log[1].endswith('other classes: cow (1)')


def test_coco_boxes_are_clipped_or_dropped_and_named(tmp_path, log):
    boxes = [[-0.5, 1, 9, 9], [70, 50, 20, 20], [79.5, 1, 5, 5], ['1', 2, 3, 4], [1, 2, 3], None]
    data = coco_file(dict(a=(80, 60)), dict(a=boxes))
    dataset = coco(tmp_path, data)
    instances = dataset.get_data_info(0)['instances']
    assert [i['bbox'] for i in instances] == [[0, 1, 8.5, 10], [70, 50, 80, 60]]
    assert [why for *_, why in dataset.dropped_boxes] == [
        'smaller than a pixel', 'not four numbers', 'not four numbers', 'no box and no outline',
    ]  # fmt: skip
    assert [box for _, box, _ in dataset.cut_boxes] == [[70, 50, 20, 20]]
    assert 'Cut 1 box(es)' in log[1]


def test_images_that_the_filter_removes_are_named(tmp_path, log):
    data = coco_file(dict(a=(80, 60), tiny=(1, 1)))
    assert len(coco(tmp_path, data, filter_cfg=dict(min_size=32))) == 1
    assert 'Skipped 1 image(s)' in log[-1]
    assert 'tiny.jpg: (1, 1) is too small' in log[-1]
    with pytest.raises(UserError, match='none of the 2 images'):
        coco(tmp_path, data, filter_cfg=dict(min_size=320))


SIZE = '<size><width>80</width><height>60</height></size>'


def voc_object(box=(11, 11, 31, 41), name='disc', more=''):
    corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    inner = ''.join(f'<{key}>{value}</{key}>' for key, value in corners)
    return f'<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>'


def voc(folder, files, names=None):
    """Return a VOC dataset with these XML texts by name; the images exist."""
    for part in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, xml in files.items():
        (folder / f'JPEGImages/{name}.jpg').write_bytes(jpeg(smooth_pixels()))
        (folder / f'Annotations/{name}.xml').write_text(xml)
    init_default_scope('mmdet')
    (folder / 'ImageSets/Main/a.txt').write_text('\n'.join(names or files))
    return CheckedVOCDataset(
        data_root=str(folder),
        ann_file='ImageSets/Main/a.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('disc',)),
        pipeline=[LOAD, *LAZY[1:]],
    )


def test_voc_files_with_faults_are_read_and_named(tmp_path, log):
    bad = [(20, 20, 20, 30), (30, 5, 10, 9), ('nan', 5, 10, 9), (90, 5, 95, 9), ('1_0', 1, 2, 3)]
    files = dict(
        plain=voc_object(),  # no `difficult`
        odd=voc_object(more='<difficult>Unspecified</difficult>'),
        difficult=voc_object(more='<difficult>1</difficult>'),
        bad=''.join(map(voc_object, bad)) + '<object><name>disc</name></object>',
        unknown=voc_object(name='horse') + voc_object(),
        empty='',
        crowded=voc_object() * 1000,
        cut=voc_object((0, 0, 90, 50)),
    )
    xmls = {name: f'<annotation>{SIZE}{objects}</annotation>' for name, objects in files.items()}
    for name, size in (('no_size', ''), ('zero_size', SIZE.replace('80', '0'))):
        xmls[name] = f'<annotation>{size}{voc_object()}</annotation>'
    dataset = voc(tmp_path, xmls, [*xmls, 'plain'])
    infos = {dataset.get_data_info(i)['img_id']: dataset.get_data_info(i) for i in range(10)}
    assert len(dataset) == 10
    counts = {name: len(info['instances']) for name, info in infos.items()}
    assert counts == dict.fromkeys(xmls, 1) | dict(bad=0, empty=0, crowded=1000)
    sound = dict(bbox=[10, 10, 30, 40], bbox_label=0, ignore_flag=0)
    for name in ('plain', 'odd', 'unknown', 'no_size', 'zero_size'):
        assert infos[name]['instances'] == [sound]
        assert (infos[name]['width'], infos[name]['height']) == (80, 60)
    assert infos['difficult']['instances'][0]['ignore_flag'] == 1
    assert infos['cut']['instances'][0]['bbox'] == [0, 0, 80, 49]
    assert [why for *_, why in dataset.dropped_boxes] == [
        'zero area', 'inverted', 'not finite', 'outside the image', 'not four numbers',
        'without a bndbox',
    ]  # fmt: skip
    text = '\n'.join(log)
    for part in (
        'lists images twice; each is used once: plain',
        'other classes: horse (1)',
        'Cut 1 box',
    ):
        assert part in text
    for i in range(len(dataset)):  # none of this stops the pipeline
        boxes = dataset[i]['data_samples'].gt_instances.bboxes.tensor
        assert boxes.isfinite().all()


def test_voc_files_that_cannot_be_read_are_refused_together(tmp_path):
    xmls = dict(empty_file='', cut_off='<annotation><object>', sound='<annotation/>')
    with pytest.raises(UserError, match='3 annotation file') as info:
        voc(tmp_path, xmls, [*xmls, 'missing'])
    for part in ('empty_file.xml is empty', 'cut_off.xml is not XML', 'missing.xml does not exist'):
        assert part in str(info.value)
    with pytest.raises(UserError, match='lists no images'):
        voc(tmp_path, {})
