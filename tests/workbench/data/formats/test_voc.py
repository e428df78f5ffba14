"""VOC's dialects: other encodings, element names, and corners that count from 0."""

import json

import numpy as np
import pytest
from helpers.check import texts
from helpers.dataset import CLASSES, HEIGHT, NAMES, WIDTH, save_image, truth, write_voc
from helpers.small import tool

from mbv2_backbone.det import CheckedVOCDataset
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset


def rewrite(root, change, encoding='utf-8'):
    """Write the usual dataset, and change the text of its XML files."""
    write_voc(root)
    for path in (root / 'Annotations').iterdir():
        path.write_bytes(change(path.read_text('utf-8')).encode(encoding))
    return root


def with_other_root(text):
    return text.replace('<annotation>', '<v:annotation xmlns:v="urn:voc">').replace(
        '</annotation>', '</v:annotation>'
    )


READ = {
    'default namespace': lambda t: t.replace('<annotation>', '<annotation xmlns="urn:voc">'),
    'prefix of a namespace': with_other_root,
    'item': lambda t: t.replace('object>', 'item>'),
    'one item among objects': lambda t: t.replace('<object>', '<item>', 1).replace(
        '</object>', '</item>', 1
    ),
    'a list of objects': lambda t: t.replace('</size>', '</size><objects>').replace(
        '</annotation>', '</objects></annotation>'
    ),
    'no bndbox around the corners': lambda t: t.replace('<bndbox>', '').replace('</bndbox>', ''),
    'a part inside an object': lambda t: t.replace(
        '</object>',
        '<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>'
        '</bndbox></part></object>',
    ),
    # expat, which Python reads XML with, knows the name UTF-8 only (python/cpython#148821)
    'utf8': lambda t: f"<?xml version='1.0' encoding='utf8'?>\n{t}",
}


def check_truth(root):
    dataset = find_dataset(root)
    assert dataset.classes == CLASSES
    found = {item.path.stem: item.record for item in dataset.images}
    for name, (boxes, labels) in truth().items():
        assert found[name].labels == tuple(labels)
        np.testing.assert_array_equal(np.reshape(found[name].boxes, (-1, 4)), boxes)
        assert found[name].dropped == found[name].problems == ()


@pytest.mark.parametrize('kind', READ)
def test_what_can_be_meant_in_one_way_is_read(kind, tmp_path):
    check_truth(rewrite(tmp_path, READ[kind]))


@pytest.mark.parametrize('encoding', ['gb2312', 'big5', 'shift_jis', 'utf-16'])
def test_encodings_of_several_bytes(encoding, tmp_path):
    """The names of cubes in Chinese, which expat alone refuses."""

    def change(text):
        text = text.replace('café au lait', '方')
        return f'<?xml version="1.0" encoding="{encoding}"?>{text}'

    dataset = find_dataset(rewrite(tmp_path, change, encoding))
    assert dataset.classes == ('apple', '方')
    assert not any(item.record.problems for item in dataset.images)


REFUSED = {
    # roLabelImg (HumanSignal/label-studio-converter#39) and Labelbox (ssaru/convert2Yolo#16)
    'robndbox': (lambda t: t.replace('bndbox>', 'robndbox>'), '<robndbox> without a bndbox'),
    'polygon': (lambda t: t.replace('bndbox>', 'polygon>'), '<polygon> without a bndbox'),
    'shape': (
        lambda t: t.replace('object>', 'shape>').replace('bndbox>', 'points>'),
        '<points> without a bndbox',
    ),
    'no name': (lambda t: t.replace('<name>apple</name>', ''), ') no class name'),
    'blank name': (lambda t: t.replace('>apple<', '> <'), ') no class name'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_what_cannot_be_read_is_named_and_counted(kind, tmp_path, log):
    change, problem = REFUSED[kind]
    report = check_folder(rewrite(tmp_path, change), task='det')
    named = texts(report, 'warning')
    assert f'a.xml: {problem}' in named or ('a.xml: (' in named and problem in named)
    assert '' not in report.dataset.classes
    total = sum(len(truth()[name][0]) for name in NAMES['train'])
    left = sum(report.stats['train'].boxes.values())
    assert f'train: {total - left} boxes are dropped' in named
    assert report.stops_training == (left == 0)
    dataset = CheckedVOCDataset(
        data_root=str(tmp_path),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )
    assert len(dataset.dropped_boxes) == total - left
    assert problem.removeprefix(') ') in ' '.join(map(str, log))


def test_a_set_without_any_object_is_an_error(tmp_path):
    """No class and no box: exit code 1, where it was 0 (a split of nothing)."""
    root = rewrite(tmp_path / 'in', lambda t: t[: t.index('</size>')] + '</size></annotation>')
    assert 'train: 3 images, 0 boxes' in texts(check_folder(root), 'error')
    assert tool('data', 'check', root).returncode == 1
    assert tool('data', 'convert', root, tmp_path / 'new', '--to', 'coco').returncode == 2


def test_lists_of_names_with_a_suffix(tmp_path):
    """qfgaohao/pytorch-ssd#59: mmdet looks for `a.jpg.jpg`."""
    root = tmp_path / 'in'
    write_voc(root)
    lists = root / 'ImageSets/Main'
    (lists / 'train.txt').write_text('a.jpg\nb.xml\nc\n')
    report = check_folder(root)
    assert [item.path.name for item in report.dataset.splits['train']] == [
        'a.jpg', 'b.jpg', 'c.jpg',
    ]  # fmt: skip
    assert 'train.txt lists 2 name(s) with a suffix, such as a.jpg' in texts(report, 'error')
    done = convert(root, tmp_path / 'new', to='coco')
    assert {split: count[0] for split, count in done.counts.items()} == dict(train=3, val=2)


def test_lists_with_an_image_twice(tmp_path):
    write_voc(tmp_path)
    (tmp_path / 'ImageSets/Main/train.txt').write_text('a\nb\na\n')
    report = check_folder(tmp_path)
    assert 'train.txt lists images more than once, counted once here: a' in texts(report, 'warning')
    assert report.stats['train'].images == 2


def datumaro_xml(boxes):
    """Return the XML that Datumaro 1.13 writes by default, and CVAT with it: edges from 0."""
    text = ''.join(
        '<object><name>ball</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>'
        '<ymax>{}</ymax></bndbox></object>'.format(*box)
        for box in boxes
    )
    size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>'
    return f'<annotation>{size}{text}</annotation>'


def write_boxes(root, *files):
    (root / 'Annotations').mkdir(parents=True)
    for i, boxes in enumerate(files):
        save_image(root / f'JPEGImages/{i}.jpg', i)
        (root / f'Annotations/{i}.xml').write_text(datumaro_xml(boxes))
    return root


FROM_ZERO = {
    'the whole image': ([(0.0, 0.0, 80.0, 60.0)], [(10.0, 20.0, 40.0, 60.0)]),
    'whole numbers': ([(0, 5, 80, 60)], [(10, 20, 40, 60)]),  # as Label Studio's converter
    'no edge at 0': ([(10.0, 20.0, 40.0, 60.0)], [(10.25, 20.5, 40.35, 60.0)]),
}


@pytest.mark.parametrize('kind', FROM_ZERO)
def test_corners_that_count_from_zero(kind, tmp_path):
    files = FROM_ZERO[kind]
    root = write_boxes(tmp_path / 'in', *files)
    report = check_folder(root)
    assert 'corners of boxes count from 0, not 1 as in VOC' in texts(report, 'warning')
    boxes = {item.path.stem: item.record.boxes for item in report.dataset.images}
    assert [boxes[str(i)] for i in range(2)] == [tuple(file) for file in files]
    convert(root, tmp_path / 'coco', to='coco')
    document = json.loads((tmp_path / 'coco/annotations/train.json').read_text())
    stored = sorted(annotation['bbox'] for annotation in document['annotations'])
    expected = sorted([x, y, x2 - x, y2 - y] for ((x, y, x2, y2),) in files)
    np.testing.assert_allclose(stored, expected, atol=1e-6)


def test_training_counts_from_zero_as_the_check_does(tmp_path, log):
    root = write_boxes(tmp_path, *FROM_ZERO['the whole image'], [(1.0, 2.0, 30.5, 40.0)])
    settings = dict(
        data_root=str(root),
        ann_file='list.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('ball',)),
        pipeline=[],
    )
    (root / 'list.txt').write_text('0\n2\n')
    dataset = CheckedVOCDataset(**settings, counts_from=0)
    found = [list(info['bbox']) for i in range(2) for info in dataset.get_data_info(i)['instances']]
    assert found == [[0, 0, 80, 60], [1, 2, 30.5, 40]]
    assert log == []
    CheckedVOCDataset(**settings)
    assert '1 box(es) begin at 0, as in 0.xml' in log[0]
    assert 'counts_from=0' in log[0]
    out = tmp_path / 'config.py'
    done = tool('new_config', '--data', root, '--task', 'det', '--out', out, '--pretrained', 'none')
    assert done.returncode == 0, done.stderr
    assert 'counts_from=0' in out.read_text()


def test_where_nothing_tells_the_first_pixel_the_check_says_what_is_assumed(tmp_path):
    """Two files of VOC 2012 have fractions, though it counts from 1."""
    report = check_folder(
        write_boxes(tmp_path, [(1, 1, 80, 60)], [(3, 4, 20, 30), (45.7, 1, 50, 9)])
    )
    assert 'taken to count from 1, as in VOC: none of 3 is at 0, and 1 have' in texts(report, 'ok')
    boxes = {item.path.stem: item.record.boxes for item in report.dataset.images}
    assert boxes == {'0': ((0, 0, 79, 59),), '1': ((2, 3, 19, 29), (44, 0, 49, 8))}
