"""Images in folders and lists, of every kind of file, and what is wrong with them."""

import shutil

import cv2
import numpy as np
import pytest
from helpers.class_data import COLOURS, write_classes
from helpers.image_formats import formats

from mbv2_backbone.cls import ClassFolderDataset, ImageNetFolderDataset
from mbv2_backbone.common.messages import UserError

PIPELINE = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='CentreView', size=32, resize=36),
    dict(type='PackClassInputs'),
]


def dataset(root, split='train', *, kind=ClassFolderDataset, classes=None, **kwargs):
    metainfo = dict(classes=classes) if classes else None
    where = dict(data_root=str(root), data_prefix=dict(img_path=split))
    return kind(**where, metainfo=metainfo, pipeline=PIPELINE, **kwargs)


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path)


def test_folders_are_the_classes_in_alphabetical_order(root):
    (root / 'train/blue/inside').mkdir()
    shutil.copy(root / 'train/blue/0.jpg', root / 'train/blue/inside/more.JPG')
    (root / 'train/blue/notes.txt').write_text('no image')
    (root / 'train/.hidden').mkdir()
    found = dataset(root)
    assert found.metainfo['classes'] == tuple(COLOURS)
    labels = [(i['gt_label'], i['img_path'].removeprefix(f'{root}/train/')) for i in infos(found)]
    expected = [(k, f'{name}/{i}.jpg') for k, name in enumerate(COLOURS) for i in range(4)]
    assert labels == sorted([*expected, (0, 'blue/inside/more.JPG')])
    item = found[5]
    assert item['inputs'].shape == (3, 32, 32)
    assert item['data_samples'].gt_label == 1


def test_classes_of_the_config_set_the_order(root):
    found = dataset(root, classes=('red', 'blue', 'green'))
    assert {i['img_path'].split('/')[-2]: i['gt_label'] for i in infos(found)} == dict(
        red=0, blue=1, green=2
    )


def infos(found):
    return [found.get_data_info(i) for i in range(len(found))]


@pytest.mark.parametrize('line', ['{}\t{}', '{} {}'], ids=['tab', 'space'])
@pytest.mark.parametrize('by_number', [False, True])
def test_a_list_names_image_and_class(root, line, by_number):
    (root / 'train/blue/0.jpg').rename(root / 'train/with space.jpg')
    rows = [('with space.jpg', 0), ('red/1.jpg', 2), ('green/2.jpg', 1)]
    names = list(COLOURS)
    text = '\n'.join(line.format(p, k if by_number else names[k]) for p, k in rows)
    (root / 'list.txt').write_text(text + '\n\n')
    found = dataset(root, ann_file='list.txt', classes=names)
    assert [(i['img_path'], i['gt_label']) for i in infos(found)] == [
        (str(root / 'train' / path), label) for path, label in rows
    ]


def test_files_of_every_kind_are_read_as_everywhere_else(root):
    kinds = list(formats().values())
    for i, (data, *_) in enumerate(kinds):
        (root / f'train/blue/_{i:03}.png').write_bytes(data)
    found = dataset(root)
    for i, (_, rgb, difference, _) in enumerate(kinds):
        (results,) = [r for r in infos(found) if r['img_path'].endswith(f'_{i:03}.png')]
        img = found.pipeline.transforms[0](results)['img']
        assert abs(img[..., ::-1].astype(int) - rgb).max() <= difference
        sample = found.pipeline(results)['data_samples']
        assert (sample.ori_shape, sample.gt_label) == (rgb.shape[:2], 0)


def test_imagenets_folders_are_its_classes_in_order(tmp_path):
    names = [f'n{i:08}' for i in range(1000)]
    for name in names:
        (tmp_path / 'val' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f'val/{name}/0.jpg'), np.zeros((8, 8, 3), np.uint8))
    found = dataset(tmp_path, 'val', kind=ImageNetFolderDataset)
    assert [(i['gt_label'], i['img_path'].split('/')[-2]) for i in infos(found)] == [
        *enumerate(names)
    ]
    assert found.metainfo['classes'][:2] == ('tench', 'goldfish')
    assert found.metainfo['classes'][-1] == 'toilet tissue'
    shutil.rmtree(tmp_path / 'val/n00000000')
    with pytest.raises(UserError, match='999 folders for 1000 classes'):
        dataset(tmp_path, 'val', kind=ImageNetFolderDataset)


def test_a_class_with_one_image_is_named(root, monkeypatch):
    said = []
    monkeypatch.setattr('mbv2_backbone.cls.class_folders.warn', said.append)
    dataset(root)
    assert said == []
    for i in range(1, 4):
        (root / f'train/green/{i}.jpg').unlink()
    dataset(root)
    assert said == [f'{root}/train has only one image of green; add more']


def empty(root):
    shutil.rmtree(root / 'train')
    (root / 'train').mkdir()


@pytest.mark.parametrize(
    ('spoil', 'kwargs', 'message'),
    [
        (empty, {}, 'train has no folder; each class needs one'),
        (lambda r: shutil.rmtree(r / 'train'), {}, 'train has no folder'),
        (lambda r: (r / 'train/pink').mkdir(), {}, 'train has no image of pink; put some'),
        (
            lambda r: (r / 'val/pink').mkdir(),
            dict(split='val', classes=tuple(COLOURS)),
            'val has folders of other classes than the config or the training split: pink',
        ),
        (
            lambda r: shutil.rmtree(r / 'val/red'),
            dict(split='val', classes=tuple(COLOURS)),
            'val has no image of red',
        ),
        (lambda r: None, dict(classes=('blue', 'green')), 'red; the classes are blue, green'),
        (lambda r: None, dict(ann_file='list.txt'), 'list.txt cannot be read'),
        (
            lambda r: (r / 'list.txt').write_text('red/0.jpg pink\n'),
            dict(ann_file='list.txt', classes=tuple(COLOURS)),
            "'red/0.jpg pink' does not end in a class; write PATH, a tab",
        ),
        (
            lambda r: (r / 'list.txt').write_text('red/0.jpg 3\n'),
            dict(ann_file='list.txt', classes=tuple(COLOURS)),
            'does not end in a class',
        ),
        (
            lambda r: (r / 'list.txt').write_text('\n'),
            dict(ann_file='list.txt', classes=('blue',)),
            'list.txt has no image of blue',
        ),
    ],
    ids=[
        'no folders', 'no split', 'empty folder', 'only in val', 'only in train', 'not in config',
        'no list', 'other class in list', 'number too large', 'empty list',
    ],
)  # fmt: skip
def test_faults_are_named_with_what_to_do(root, spoil, kwargs, message):
    spoil(root)
    with pytest.raises(UserError, match=message):
        dataset(root, **kwargs)
