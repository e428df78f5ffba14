"""A config for images sorted by class trains, in whatever way they are sorted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.class_data import COLOURS, write_classes
from helpers.files import contents
from helpers.own_dataset import write_own_dataset
from helpers.small import tool
from mmengine.registry import DATASETS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import datasets_of, load_config
from mbv2_backbone.workbench.data.check.check import check_data
from mbv2_backbone.workbench.data.find import guess_task
from mbv2_backbone.workbench.new_config.fitting import cls_size
from mbv2_backbone.workbench.new_config.write import Choices, new_config, write_config

pytestmark = pytest.mark.usefixtures('no_network')
SMALL = Choices(width=0.35)


def test_a_generated_config_trains_unchanged(tmp_path):
    root = write_classes(tmp_path / 'photos')
    out = tmp_path / 'mine.py'
    result = tool(
        'new_config', '--data', root, '--width', 0.25, '--epochs', 1, '--size', 64, '--out', out
    )
    assert result.returncode == 0, result.stderr[-2000:]
    train, test, _ = result.stdout.strip().splitlines()[-3:]
    assert train == f'python tools/train.py {out}'
    result = tool('train', out, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    result = tool('test', out, test.split()[-1], cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = (tmp_path / 'work_dirs/mine').glob('*/vis_data/scalars.json')
    scalars = [json.loads(line) for path in lines for line in path.read_text().splitlines()]
    assert any('accuracy/top1' in line for line in scalars)
    assert np.isfinite([line['loss'] for line in scalars if 'loss' in line]).all()
    cfg = load_config(str(out))
    assert (cfg.classes, cfg.model.head.num_classes) == (tuple(COLOURS), 3)
    steps = cfg.test_dataloader.dataset.pipeline
    assert (steps[1].size, steps[1].resize) == (64, 73)


def images_of(config, split):
    """Return path below the data root and class of each image of a split."""
    cfg = load_config(str(config))
    (node,) = datasets_of(cfg, (split,))
    dataset = DATASETS.build(dict(node, pipeline=[]))
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return {
        str(Path(info['img_path']).relative_to(cfg.data_root)): cfg.classes[info['gt_label']]
        for info in infos
    }


def by_folder(root, below=''):
    paths = sorted((root / below).rglob('*.jpg'))
    return {str(path.relative_to(root)): path.parent.name for path in paths}


@pytest.mark.parametrize('below', ['train', ''], ids=['only train', 'no split'])
def test_a_fifth_of_each_class_is_held_out_without_a_split(below, tmp_path):
    root = tmp_path / 'photos'
    write_classes(root, dict(blue=20, green=2, red=7), splits=('train',))
    if not below:
        for folder in (root / 'train').iterdir():
            folder.rename(root / folder.name)
        (root / 'train').rmdir()
    before = contents(root)
    new = new_config(root, out=tmp_path / 'a.py', width=0.35)
    assert [path.parent for path in new.split_files] == [root / 'split_by_name'] * 2
    after = contents(root)
    assert {name: after[name] for name in before} == before
    train, val = (images_of(tmp_path / 'a.py', split) for split in ('train', 'val'))
    assert train | val == by_folder(root, below)
    assert not train.keys() & val.keys()
    assert set(train.values()) == set(val.values()) == set(COLOURS)
    assert 4 <= len(val) <= 12

    assert write_config(root, 'cls', out=tmp_path / 'b.py', choices=SMALL).split_files == []
    assert images_of(tmp_path / 'b.py', 'val') == val
    shutil.copy(next(root.rglob('*.jpg')), root / below / 'red/new.jpg')
    with pytest.raises(UserError, match='does not match the split'):
        write_config(root, 'cls', out=tmp_path / 'c.py', choices=SMALL)
    assert '1 annotated image(s) are not in its lists, e.g. new.jpg' in str(check_data(root))


def write_lists(root, place, row, names=None):
    """Put the images of all classes side by side, and list them; return what is listed."""
    listed = {}
    for split in ('train', 'val'):
        (root / f'{split}_all').mkdir()
        rows = []
        for path in sorted((root / split).rglob('*.jpg')):
            name = f'{split}_all/{path.parent.name} {path.name}'
            path.rename(root / name)
            listed.setdefault(split, {})[name] = path.parent.name
            rows.append(row.format(name, path.parent.name, list(COLOURS).index(path.parent.name)))
        shutil.rmtree(root / split)
        (root / place).mkdir(exist_ok=True)
        (root / place / f'{split}.txt').write_text('\n'.join(rows))
    if names:
        (root / 'classes.txt').write_text('\n'.join(names))
    return listed


@pytest.mark.parametrize(
    ('place', 'row', 'names', 'classes'),
    [
        ('', '{}\t{}', None, tuple(COLOURS)),
        ('meta', '{} {}', None, tuple(COLOURS)),
        ('meta', '{0} {2}', ('b', 'g', 'r'), ('b', 'g', 'r')),
        ('', '{0}\t{2}', None, ('class_0', 'class_1', 'class_2')),
        ('', '{}\t{}', ('red', 'blue', 'green'), ('red', 'blue', 'green')),
    ],
    ids=['tab', 'meta', 'numbers and names', 'numbers', 'names in another order'],
)
def test_lists_are_read(place, row, names, classes, tmp_path):
    root = write_classes(tmp_path / 'photos')
    listed = write_lists(root, place, row, names)
    new_config(root, out=tmp_path / 'a.py', width=0.35)
    assert load_config(str(tmp_path / 'a.py')).classes == classes
    called = classes if '2' in row else sorted(classes)
    called = dict(zip(COLOURS, called, strict=True))
    for split, expected in listed.items():
        renamed = {path: called[name] for path, name in expected.items()}
        assert images_of(tmp_path / 'a.py', split) == renamed


def test_folders_to_train_on_and_a_list_to_validate_on_as_in_imagenet(tmp_path):
    root = write_classes(tmp_path / 'photos')
    rows = []
    for i, path in enumerate(sorted((root / 'val').rglob('*.jpg'))):
        path.rename(root / f'val/{i}.jpg')
        rows.append(f'{i}.jpg {list(COLOURS).index(path.parent.name)}')
    for name in COLOURS:
        (root / 'val' / name).rmdir()
    (root / 'meta').mkdir()
    (root / 'meta/val.txt').write_text('\n'.join(rows))
    new_config(root, out=tmp_path / 'a.py', width=0.35)
    assert images_of(tmp_path / 'a.py', 'train') == by_folder(root, 'train')
    assert list(images_of(tmp_path / 'a.py', 'val').values()) == [
        n for n in COLOURS for _ in '1234'
    ]


def test_a_test_split_is_validated_on_where_there_is_no_other(tmp_path):
    root = write_classes(tmp_path / 'photos', splits=('train', 'test'))
    new = new_config(root, out=tmp_path / 'a.py', width=0.35)
    assert new.split_files == []
    assert images_of(tmp_path / 'a.py', 'val') == by_folder(root, 'test')


def test_the_task_is_that_of_the_annotations(sample_dataset, tmp_path):
    write_own_dataset(tmp_path / 'boxes')
    new_config(tmp_path / 'boxes', out=tmp_path / 'a.py', width=0.35)
    assert 'bbox_head' in load_config(str(tmp_path / 'a.py')).model
    for folder in ('JPEGImages', 'SegmentationClass'):
        shutil.copytree(sample_dataset / folder, tmp_path / 'masks' / folder)
    new_config(tmp_path / 'masks', out=tmp_path / 'b.py', width=0.35)
    assert 'decode_head' in load_config(str(tmp_path / 'b.py')).model
    with pytest.raises(UserError, match='has boxes and masks; give --task det, seg or both'):
        new_config(sample_dataset, out=tmp_path / 'c.py', width=0.35)
    assert guess_task(sample_dataset, format_name='masks') == 'seg'
    new_config(sample_dataset / 'sample_crops', out=tmp_path / 'd.py', width=0.35)
    assert load_config(str(tmp_path / 'd.py')).model.type == 'ImageClassifier'


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda r: shutil.rmtree(r / 'val/red'), 'val has no image of red'),
        (lambda r: (r / 'train/pink').mkdir(), 'train has no image of pink'),
        (lambda r: [p.unlink() for p in r.rglob('*.jpg')], 'has no image of blue, green, red'),
        (lambda r: (r / 'val/red/0.jpg').write_bytes(b''), 'red/0.jpg is empty'),
        (lambda r: shutil.rmtree(r / 'val') or only_one(r), r'red/0.jpg is the only image of its'),
        (lambda r: shutil.rmtree(r) or r.mkdir(), 'has no images sorted by class, which are laid'),
    ],
    ids=['class in one split', 'empty class', 'no images', 'broken', 'one image', 'empty'],
)
def test_what_would_stop_training_is_refused_and_nothing_written(spoil, message, tmp_path):
    root = write_classes(tmp_path / 'photos')
    spoil(root)
    with pytest.raises(UserError, match=message):
        write_config(root, 'cls', out=tmp_path / 'x.py', choices=SMALL)
    assert not (tmp_path / 'x.py').exists()
    assert not (root / 'split_by_name').exists()


def only_one(root):
    for i in range(1, 4):
        (root / f'train/red/{i}.jpg').unlink()


def test_a_layout_is_not_asked_of_sorted_images(tmp_path):
    root = write_classes(tmp_path / 'photos')
    with pytest.raises(UserError, match='leave it out for images sorted by class'):
        write_config(root, 'cls', out=tmp_path / 'x.py', choices=Choices(format_name='coco'))


def test_input_sizes():
    assert cls_size(np.array([(640, 480)] * 3)) == 224
    assert cls_size(np.array([(100, 70)] * 3)) == 96
    assert cls_size(np.array([(20, 30)] * 3)) == 64
