"""YOLO's files, and the variants of its YAML."""

import shutil

import numpy as np
import pytest
from helpers.check import texts
from helpers.dataset import CLASSES, NAMES, save_image, write_coco, write_yolo

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset


def test_boxes_of_polygons_in_yolo_and_invalid_lines(tmp_path):
    (tmp_path / 'labels').mkdir()
    lines = [
        '0 0.1 0.1 0.5 0.2 0.3 0.4',
        '9 0.5 0.5 0.2 0.2',
        '0 0.5 x 0.2 0.2',
        '1 0.5 0.5 -0.2 1',
    ]
    for name in 'ab':
        save_image(tmp_path / 'images' / f'{name}.jpg')
        (tmp_path / 'labels' / f'{name}.txt').write_text('\n'.join(lines))
    (tmp_path / 'classes.txt').write_text('apple\npear\n')
    record = find_dataset(tmp_path).images[0].record
    np.testing.assert_allclose(record.boxes, [(8, 6, 40, 24)], atol=1e-6)
    problems = ["unknown class '9'", 'not four numbers', 'inverted']
    assert [problem for _, problem in record.dropped] == problems


def yolo_with(root, text):
    write_yolo(root)
    (root / 'data.yaml').write_text(text, 'utf-8')
    return root


def test_lists_of_folders_in_yolo(tmp_path):
    text = 'train: [images/train, images/val]\nval: images/val\nnames: {"0": a, 1: b}\n'
    dataset = find_dataset(yolo_with(tmp_path, text))
    assert dataset.classes == ('a', 'b')
    names = {split: [i.path.stem for i in items] for split, items in dataset.splits.items()}
    assert names == dict(train=list('abcde'), val=list('de'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('train: [images/train, no/where]\nval: images/val\nnames: [a, b]', 'train: no/where'),
        ('train: images/train\nval: gone\nnames: [a, b]', 'val: gone'),
        ('train: images/train\nval: images/val\nnames: {a: 0, b: 1}', 'the keys a, b; expected 0'),
        # Ultralytics refuses them too; a class that nobody named would be trained.
        ('train: images/train\nval: images/val\nnames: {0: a, 2: b}', 'the keys 0, 2; expected 0'),
        ('names: [a, b', 'is not valid YAML'),
    ],
)
def test_errors_in_the_yaml_file_of_yolo(text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        find_dataset(yolo_with(tmp_path, text))


def test_a_test_split_that_was_never_exported(tmp_path):
    text = 'train: images/train\nval: images/val\ntest: ../test/images\nnames: [a, b]\n'
    dataset = find_dataset(yolo_with(tmp_path, text))
    assert dataset.splits.keys() == {'train', 'val'}
    assert '`test: ../test/images`' in dataset.notes[0]


def test_other_yaml_files_are_left_alone(tmp_path, monkeypatch):
    import yaml

    for writer in (write_coco, write_yolo):
        root = tmp_path / writer.__name__
        writer(root)
        text = 'x: !!python/name:module.function\n'
        (root / 'a_mkdocs.yml').write_text(text)
        (root / 'b.yaml').write_bytes(b'\xff: x')
    assert find_dataset(tmp_path / 'write_coco').classes == CLASSES
    loads, load = [], yaml.load
    monkeypatch.setattr(yaml, 'load', lambda text, **kw: loads.append(text) or load(text, **kw))
    assert find_dataset(tmp_path / 'write_yolo').classes == CLASSES
    assert len(loads) == 1


@pytest.mark.parametrize(
    ('names', 'classes'),
    [
        ('[yes, no]', ('yes', 'no')),  # PyYAML's safe_load gives True and False
        ('[on, "off"]', ('on', 'off')),
        ('[null, ~]', ('null', '~')),
        ('{0: 010, 1: 1e3}', ('010', '1e3')),
        ('[1.0, 12:30:45]', ('1.0', '12:30:45')),  # a number to base 60
        ('[2024-01-01, y]', ('2024-01-01', 'y')),
    ],
)
def test_names_in_yaml_are_text(names, classes, tmp_path):
    text = f'train: images/train\nval: images/val\ntest: null\nnames: {names}\n'
    assert find_dataset(yolo_with(tmp_path, text)).classes == classes


@pytest.mark.parametrize(
    'row',
    [
        '1,0.5,0.5,0.2,0.4',
        '1, 0.5, 0.5, 0.2, 0.4',
        '1;0.5;0.5;0.2;0.4',
        '1 0,5 0,5 0,2 0,4',  # decimal commas
        '1.000000 0.5 0.5 0.2 0.4',  # numpy.savetxt
        '1.000000e+00 5.0e-01 5.0e-01 2.0e-01 4.0e-01',
        'pear 0.5 0.5 0.2 0.4',
        '1\t0.5\t0.5\t0.2\t0.4\t',
    ],
)
def test_rows_in_other_notations(row, tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').write_text('names: [apple, pear]\n')
    (tmp_path / 'labels/train/a.txt').write_text(f'{row}\n')
    record = find_dataset(tmp_path).splits['train'][0].record
    assert (record.labels, record.dropped) == ((1,), ())
    np.testing.assert_allclose(record.boxes, [(32, 18, 48, 42)], atol=1e-9)


def test_a_sixth_column_is_a_score_or_refused(tmp_path):
    """Ultralytics predicts with `save_conf`; an angle is not a score."""
    write_yolo(tmp_path / 'in')
    labels = tmp_path / 'in/labels/train'
    (labels / 'a.txt').write_text('0 0.5 0.5 0.2 0.4 0.97\n1 0.5 0.5 0.2 0.4 0.3\n')
    (labels / 'b.txt').write_text('0 0.5 0.5 0.2 0.4 0.5\n0 0.5 0.5 0.2 0.4 1.2\n')
    report = check_folder(tmp_path / 'in')
    first, second, _ = (item.record for item in report.dataset.splits['train'])
    np.testing.assert_allclose(first.boxes, [(32, 18, 48, 42)] * 2, atol=1e-9)
    assert second.boxes == ()
    text = texts(report, 'warning')
    assert 'taken for a score and left out in 1 files: a.txt' in text
    assert 'train: 2 boxes are dropped: 2 not four numbers' in text
    problems = convert(tmp_path / 'in', tmp_path / 'out', to='coco').problems
    assert sum('a.txt' in p and 'a score' in p for p in problems) == 1


def move_below(root, place):
    """Move images and their labels into subfolders."""
    for split, names in NAMES.items():
        for i, name in enumerate(names):
            for kind, suffix in (('images', 'jpg'), ('labels', 'txt')):
                old = root / kind / split / f'{name}.{suffix}'
                new = root / kind / split / place(i) / old.name
                new.parent.mkdir(parents=True, exist_ok=True)
                if old.is_file():
                    old.rename(new)


@pytest.mark.parametrize(
    ('place', 'has_yaml'),
    [
        (lambda i: f'day{i}', True),
        (lambda i: 'day/cam' if i else '', True),
        (lambda i: f'day{i}', False),
    ],
)
def test_images_in_subfolders(place, has_yaml, tmp_path):
    """LibreYOLO/libreyolo#195; Ultralytics reads `images/train/**` too."""
    write_yolo(tmp_path / 'plain')
    expected = find_dataset(tmp_path / 'plain')
    shutil.copytree(tmp_path / 'plain', tmp_path / 'deep')
    move_below(tmp_path / 'deep', place)
    if not has_yaml:
        (tmp_path / 'deep/data.yaml').write_text('names: [apple, café au lait]', 'utf-8')
    found = find_dataset(tmp_path / 'deep')
    for split, items in expected.splits.items():
        boxes = {item.path.name: item.record.boxes for item in found.splits[split]}
        assert boxes == {item.path.name: item.record.boxes for item in items}
    counts = convert(tmp_path / 'deep', tmp_path / 'out', to='coco').counts
    assert {split: count[0] for split, count in counts.items()} == dict(train=3, val=2)


def test_links_to_folders_are_followed_once(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'images/train/loop').symlink_to(tmp_path / 'images/train')
    (tmp_path / 'elsewhere').mkdir()
    save_image(tmp_path / 'elsewhere/x.jpg')
    (tmp_path / 'images/train/linked').symlink_to(tmp_path / 'elsewhere')
    names = [item.path.name for item in find_dataset(tmp_path).splits['train']]
    assert sorted(names) == ['a.jpg', 'b.jpg', 'c.jpg', 'x.jpg']


def test_labels_without_an_image_and_a_split_of_nothing_are_named(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'images/train/a.jpg').rename(tmp_path / 'images/train/a.heic')
    assert 'train: 1 label file(s) without an image' in texts(check_folder(tmp_path), 'warning')
    for path in (tmp_path / 'images/val').iterdir():
        path.unlink()
    assert 'val: 0 images' in texts(check_folder(tmp_path), 'error')
