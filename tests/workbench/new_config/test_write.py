"""The files that `new_config` writes, leaves alone and refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.fault import jpeg, smooth_pixels
from helpers.files import contents
from helpers.own_dataset import CLASSES, write_own_dataset
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mbv2_backbone.common import own_configs as installed
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import datasets_of, load_config
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.new_config.write import Choices, write_config

pytestmark = pytest.mark.usefixtures('no_network')

SMALL = Choices(width=0.35)


def write_voc_without_val(root):
    """Write boxes and masks in VOC format, with a list of training images only."""
    write_own_dataset(root.with_name('in'))
    convert(root.with_name('in'), root, to='voc')
    assert [path.name for path in (root / 'ImageSets/Main').iterdir()] == ['train.txt']
    for folder in ('SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir()
    for path in (root / 'JPEGImages').iterdir():
        mask = Image.fromarray(np.tile([0, 1, 2], (72, 32)).astype(np.uint8))
        mask.save(root / 'SegmentationClass' / f'{path.stem}.png')
    names = (root / 'ImageSets/Main/train.txt').read_text()
    (root / 'ImageSets/Segmentation/train.txt').write_text(names)


def images_of(config, split):
    (node,) = datasets_of(load_config(str(config)), (split,))
    dataset = DATASETS.build(dict(node, pipeline=[]))
    return {Path(dataset.get_data_info(i)['img_path']).stem for i in range(len(dataset))}


@pytest.mark.parametrize(
    ('kind', 'task'), [('coco', 'det'), ('train.json', 'det'), ('voc', 'det'), ('voc', 'seg')]
)
def test_no_file_of_the_user_is_changed(kind, task, tmp_path):
    root = tmp_path / 'dataset'
    if kind == 'voc':
        write_voc_without_val(root)
    else:
        write_own_dataset(tmp_path / 'in', split='all')
        if kind == 'coco':
            shutil.copytree(tmp_path / 'in', root)
        else:
            convert(tmp_path / 'in', root, to='coco')
            assert [path.name for path in (root / 'annotations').iterdir()] == ['train.json']
    before = contents(root)
    first = write_config(str(root), task, out=str(tmp_path / 'a.py'), choices=SMALL)
    assert [path.parent for path in first.split_files] == [root / 'split_by_name'] * 2
    after = contents(root)
    assert {name: after[name] for name in before} == before
    train, val = (images_of(tmp_path / 'a.py', split) for split in ('train', 'val'))
    assert train | val == set('abcdefgh')
    assert train
    assert val
    assert not train & val

    again = write_config(str(root), task, out=str(tmp_path / 'b.py'), choices=SMALL)
    assert again.split_files == []
    assert contents(root) == after
    assert list(map(str, again.report.findings)) == list(map(str, first.report.findings))
    assert images_of(tmp_path / 'b.py', 'val') == val


def test_images_added_after_the_split_are_named(tmp_path):
    root = tmp_path / 'dataset'
    write_own_dataset(root)
    write_config(str(root), 'det', out=str(tmp_path / 'a.py'), choices=SMALL)
    before = contents(root / 'split_by_name')
    write_own_dataset(root, names='abcdefghij')
    report = check_folder(root)
    assert not report.stops_training
    text = '\n'.join(map(str, report.findings))
    assert '2 annotated image(s) are not in its lists, e.g. i.jpg; delete it' in text
    with pytest.raises(UserError, match='does not match the split'):
        write_config(str(root), 'det', out=str(tmp_path / 'b.py'), choices=SMALL)
    assert contents(root / 'split_by_name') == before
    assert not (tmp_path / 'b.py').exists()
    shutil.rmtree(root / 'split_by_name')
    write_config(str(root), 'det', out=str(tmp_path / 'b.py'), choices=SMALL)
    assert len(images_of(tmp_path / 'b.py', 'train') | images_of(tmp_path / 'b.py', 'val')) == 10


def test_a_split_of_a_file_in_the_folder_itself_is_not_read_as_another(tmp_path):
    root = tmp_path / 'dataset'
    write_own_dataset(root)
    (root / 'annotations/all.json').rename(root / 'all.json')
    (root / 'annotations').rmdir()
    for name in 'ab':
        new = write_config(str(root), 'det', out=str(tmp_path / f'{name}.py'), choices=SMALL)
        assert len(new.report.dataset.images) == 8
        assert new.report.dataset.splits.keys() == {'train', 'val'}


def test_coco_files_are_ascii(tmp_path):
    root = tmp_path / 'dataset'
    write_own_dataset(root)
    convert(root, tmp_path / 'coco', to='coco')
    write_config(str(root), 'det', out=str(tmp_path / 'a.py'), choices=SMALL)
    for path in [*tmp_path.glob('coco/annotations/*'), *root.glob('split_by_name/*')]:
        data = json.loads(path.read_text('ascii'))
        assert tuple(category['name'] for category in data['categories']) == CLASSES


def test_a_config_that_cannot_be_written_leaves_no_split(tmp_path):
    write_own_dataset(tmp_path / 'dataset')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot write'):
        write_config(
            str(tmp_path / 'dataset'), 'det', out=str(tmp_path / 'file/x.py'), choices=SMALL
        )
    assert not (tmp_path / 'dataset/split_by_name').exists()


def test_a_config_inherits_from_anywhere(sample_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'real' / 'er').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'real' / 'er')
    (tmp_path / 'real' / 'er' / 'back').symlink_to(tmp_path)
    for out in ('x.py', 'link/x.py', 'real/er/back/y.py'):
        write_config(str(sample_dataset), 'det', out=out, choices=Choices())
        assert Config.fromfile(out).model.type == 'SingleStageDetector'


def test_a_config_inherits_from_an_installation_by_name(sample_dataset, tmp_path, monkeypatch):
    package = tmp_path / 'site-packages' / 'mbv2_backbone'
    shutil.copytree(ROOT / 'configs', package / '.mim' / 'configs')
    monkeypatch.setattr(installed, '_PACKAGE', package)
    for task in ('det', 'seg', 'both'):
        out = tmp_path / f'{task}.py'
        write_config(str(sample_dataset), task, out=str(out), choices=SMALL)
        assert "'mbv2_backbone::" in out.read_text()
        assert 'site-packages' not in out.read_text()
        assert Config.fromfile(out).model.backbone.type == 'MobileNetV2Backbone'


def test_an_existing_config_is_kept(sample_dataset, tmp_path):
    out = tmp_path / 'x.py'
    out.write_text('precious')
    with pytest.raises(UserError, match='--force'):
        write_config(str(sample_dataset), 'det', out=str(out), choices=Choices())
    assert out.read_text() == 'precious'


@pytest.mark.parametrize('choices', [dict(size=0), dict(passes=0), dict(passes=-3)])
def test_numbers_below_one(choices):
    with pytest.raises(UserError, match='must be at least 1'):
        Choices(**choices)


def test_datasets_that_do_not_fit_the_task(tmp_path):
    write_own_dataset(tmp_path / 'coco')
    with pytest.raises(UserError, match='holds no masks'):
        write_config(str(tmp_path / 'coco'), 'seg', out=str(tmp_path / 'x.py'), choices=Choices())
    (tmp_path / 'yolo/labels').mkdir(parents=True)
    (tmp_path / 'yolo/images').mkdir()
    (tmp_path / 'yolo/classes.txt').write_text('a\n')
    for name in 'ab':
        (tmp_path / f'yolo/images/{name}.jpg').write_bytes(jpeg(smooth_pixels()))
        (tmp_path / f'yolo/labels/{name}.txt').write_text('0 0.5 0.5 0.2 0.2')
    with pytest.raises(UserError, match=r'data\.py convert .*yolo .*yolo_coco --to coco'):
        write_config(str(tmp_path / 'yolo'), 'det', out=str(tmp_path / 'x.py'), choices=Choices())
    assert not (tmp_path / 'x.py').exists()


def test_formats_that_a_segmentor_does_not_read(sample_dataset, tmp_path):
    for layout in ('coco', 'voc'):
        choices = Choices(format_name=layout)
        with pytest.raises(UserError, match='leave --layout out'):
            write_config(str(sample_dataset), 'seg', out=str(tmp_path / 'x.py'), choices=choices)


def test_masks_that_a_detector_does_not_read_are_left_alone(tmp_path):
    write_own_dataset(tmp_path / 'dataset')
    shutil.copytree(tmp_path / 'dataset/pictures', tmp_path / 'dataset/images')
    (tmp_path / 'dataset/masks').mkdir()
    for name in 'abcdefgh':
        mask = Image.fromarray(np.full((9, 9), 77, np.uint8))
        mask.save(tmp_path / f'dataset/masks/{name}.png')
    write_config(str(tmp_path / 'dataset'), 'det', out=str(tmp_path / 'x.py'), choices=SMALL)
    with pytest.raises(UserError, match='masks cannot be used'):
        write_config(str(tmp_path / 'dataset'), 'both', out=str(tmp_path / 'y.py'), choices=SMALL)


def test_a_joint_model_does_not_read_colour_masks(sample_dataset, tmp_path):
    root = tmp_path / 'dataset'
    shutil.copytree(sample_dataset, root)
    names = tmp_path / 'names.txt'
    labels = ('background', 'disc', 'square', 'triangle', 'star')
    names.write_text(''.join(f'{name} {i} 0 0\n' for i, name in enumerate(labels)))
    choices = Choices(width=0.35, class_file=str(names))
    write_config(str(root), 'both', out=str(tmp_path / 'x.py'), choices=choices)
    mask = next(root.glob('SegmentationClass/*.png'))
    Image.new('RGB', Image.open(mask).size).save(mask)
    with pytest.raises(UserError, match='stores the classes as colours; save masks as indices'):
        write_config(str(root), 'both', out=str(tmp_path / 'y.py'), choices=choices)


def test_a_dataset_that_cannot_be_trained_on(tmp_path):
    write_own_dataset(tmp_path / 'dataset')
    for path in (tmp_path / 'dataset/pictures').iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match='cannot be used for training yet'):
        write_config(
            str(tmp_path / 'dataset'), 'det', out=str(tmp_path / 'x.py'), choices=Choices()
        )
