"""YOLO's files, and the variants of its YAML."""

import numpy as np
import pytest
from helpers.dataset import CLASSES, save_image, write_coco, write_yolo

from mbv2_backbone.common.messages import UserError
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
    loads, load = [], yaml.safe_load
    monkeypatch.setattr(yaml, 'safe_load', lambda text: loads.append(text) or load(text))
    assert find_dataset(tmp_path / 'write_yolo').classes == CLASSES
    assert len(loads) == 1
