"""Boxes that nothing is learned from are not counted as boxes, wherever boxes are counted.

COCO's crowds and VOC's difficult objects are left out of the loss and of the evaluation: mmdet
(onedl-mmdetection 3.5.1) gives them `ignore_flag`, pycocotools 2.0.11 `ignore`. CVAT exports every
mask with `iscrowd` 1 (ultralytics/JSON2YOLO#38).
"""

import json

import numpy as np
import pytest
from helpers.check import texts
from helpers.convert import CLASSES, write_coco_splits
from helpers.dataset import write_labelme, write_voc
from helpers.small import tool, write_small_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset
from mbv2_backbone.workbench.data.check.check import check_config, check_folder
from mbv2_backbone.workbench.data.conversion import WRITERS, convert
from mbv2_backbone.workbench.data.find import find_dataset
from mbv2_backbone.workbench.data.show.sheet import _legend
from mbv2_backbone.workbench.new_config.write import Choices, write_config
from mbv2_backbone.workbench.run import train

RUNS = {'size': [30, 40], 'counts': [30 * 5 + 4, 10] + [20, 10] * 6 + [30 * 28 + 16]}
BOX = [5, 4, 7, 10]  # of the mask


def write_flags(root, flags):
    """Write a COCO dataset with the `iscrowd` (or `ignore`, if 2) of the objects of each split."""
    fields = [dict(iscrowd=0), dict(iscrowd=1), dict(ignore=1)]
    splits = {
        split: {
            f'{split}{i}.jpg': (40, 30, [dict(bbox=BOX, segmentation=RUNS) | fields[flag]])
            for i, flag in enumerate(own)
        }
        for split, own in flags.items()
    }
    return write_coco_splits(root, splits)


def all_difficult(root):
    for path in root.rglob('*.xml'):
        text = path.read_text('utf-8')
        path.write_text(text.replace('<bndbox>', '<difficult>1</difficult><bndbox>'), 'utf-8')
    for path in root.rglob('*.json'):
        data = json.loads(path.read_text('utf-8'))
        data['shapes'] = [shape | dict(flags=dict(difficult=True)) for shape in data['shapes']]
        path.write_text(json.dumps(data), 'utf-8')


def write_crowds(root, flag=1):
    write_flags(root, dict(train=[flag] * 6, val=[flag] * 2))


@pytest.fixture(params=['crowds', 'ignore', 'difficult VOC', 'difficult LabelMe'])
def unlearnable(request, tmp_path):
    root = tmp_path / 'in'
    if request.param in ('crowds', 'ignore'):
        write_crowds(root, 1 if request.param == 'crowds' else 2)
    else:
        (write_voc if 'VOC' in request.param else write_labelme)(root)
        all_difficult(root)
    return root


def test_a_split_of_ignored_boxes_prevents_training(unlearnable, tmp_path):
    report = check_folder(unlearnable, task='det')
    found = texts(report, 'error')
    for split in ('train', 'val'):
        stats = report.stats[split]
        assert sum(stats.boxes.values()) == sum(stats.coco_sizes.values()) == 0
        assert stats.empty == stats.images
        assert stats.ignored > 0
        assert f'{stats.images} images, 0 boxes, {stats.images} images without a box' in found
        assert f'all {stats.ignored} boxes are ignored' in found
    assert '--ignored-as-objects' in found
    assert [line.split()[0] for line in str(report).splitlines() if 'ignored   ' in line]
    with pytest.raises(UserError, match=r'cannot be used for training|no labelled images|Convert'):
        write_config(str(unlearnable), 'det', out=str(tmp_path / 'a.py'), choices=Choices())
    with pytest.raises(UserError, match='YOLO cannot hold ignored objects'):
        convert(unlearnable, tmp_path / 'yolo', to='yolo')
    assert not (tmp_path / 'yolo').exists()


def test_they_become_objects(unlearnable, tmp_path):
    before = check_folder(unlearnable, task='det').stats
    for to in WRITERS:
        done = convert(unlearnable, tmp_path / to, to=to, ignored_as_objects=True)
        after = check_folder(tmp_path / to, task='det')
        assert not after.stops_training
        for split, stats in after.stats.items():
            assert stats.ignored == 0
            assert sum(stats.boxes.values()) == before[split].ignored == done.counts[split][3]


def test_more_than_half_ignored_is_a_warning(tmp_path):
    root = write_flags(tmp_path / 'a', dict(train=[1, 1, 1, 0, 0], val=[1, 0]))
    report = check_folder(root, task='det')
    assert not report.stops_training
    assert 'train: 5 images, 2 boxes, 3 images without a box; 3 of 5 boxes are ignored' in texts(
        report, 'warning'
    )
    assert 'val: 2 images, 1 boxes, 1 images without a box, 1 ignored' in texts(report, 'ok')
    done = convert(root, tmp_path / 'coco', to='coco')
    assert done.counts == dict(train=(5, 3, 3, 2), val=(2, 1, 1, 1))
    assert any(note.startswith('train: 3 of 5 boxes are ignored') for note in done.notes)
    (legend,) = [text for text, _ in legend_of(root) if text.startswith(CLASSES[0])]
    assert legend == f'{CLASSES[0]}: 2 objects'


def legend_of(root):
    from mbv2_backbone.workbench.configs.summary import Classes
    from mbv2_backbone.workbench.data.annotated_images import Findings, read_annotated_image
    from mbv2_backbone.workbench.data.show.labelled import LabelledImage

    dataset = find_dataset(root)
    images = [read_annotated_image(i, 'coco', Findings()) for i in dataset.splits['train']]
    shown = [LabelledImage(np.zeros((30, 40, 3), np.uint8), image.items) for image in images]
    classes = Classes(dataset.classes, [(9, 9, 9)] * len(dataset.classes))
    return _legend(shown, classes, Classes(), Classes())


def dataset_of(root, kind, **kwargs):
    kwargs |= dict(data_root=str(root), metainfo=dict(classes=('zebra fish',)), pipeline=[])
    if kind == 'voc':
        lists = 'ImageSets/Main/train.txt'
        return CheckedVOCDataset(ann_file=lists, data_prefix=dict(sub_data_root=''), **kwargs)
    files = dict(ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'))
    return CheckedCocoDataset(**files, **kwargs)


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('kind', ['coco', 'ignore', 'voc'])
def test_the_datasets_of_training_refuse_them_too(kind, test_mode, tmp_path, log):
    root = write_flags(tmp_path / 'all', dict(train=[2 if kind == 'ignore' else 1] * 3))
    some = write_flags(tmp_path / 'some', dict(train=[1, 2, 0]))
    if kind == 'voc':
        root, some = (
            convert(path, tmp_path / f'{path.name}_voc', to='voc').root for path in (root, some)
        )
    with pytest.raises(UserError, match=r'all 3 boxes are ignored.*--ignored-as-objects'):
        dataset_of(root, kind, test_mode=test_mode)
    log.clear()
    dataset = dataset_of(some, kind, test_mode=test_mode)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [box['ignore_flag'] for info in infos for box in info['instances']] == [1, 1, 0]
    assert '2 of 3 boxes are ignored' in log[0]


def test_a_config_with_nothing_to_learn_from_is_refused(sample_dataset, tmp_path):
    """Also where the file has no object at all, which the dataset alone may have in a mixture."""
    data = json.loads((sample_dataset / 'annotations/train.json').read_text())
    (tmp_path / 'empty.json').write_text(json.dumps(data | dict(annotations=[])))
    crowds = [item | dict(iscrowd=1) for item in data['annotations']]
    (tmp_path / 'crowds.json').write_text(json.dumps(data | dict(annotations=crowds)))
    config = write_small_config(tmp_path / 'small.py', sample_dataset)
    for name, message in (('empty', 'train: 24 images, 0 boxes'), ('crowds', 'boxes are ignored')):
        file = tmp_path / f'{name}.json'
        options = [f'train_dataloader.dataset.ann_file={file}']
        with pytest.raises(UserError, match=message):
            train(str(config), work_dir=str(tmp_path / 'work'), cfg_options=options)
        copy = tmp_path / f'{name}.py'
        copy.write_text(
            f"_base_ = 'small.py'\ntrain_dataloader = dict(dataset=dict(ann_file={str(file)!r}))\n"
        )
        assert message in texts(check_config(str(copy)), 'error')


def test_the_tool_counts_what_it_writes(tmp_path):
    write_crowds(tmp_path / 'in')
    done = tool('data', 'convert', tmp_path / 'in', tmp_path / 'out', '--to', 'yolo')
    assert done.returncode == 2
    done = tool(
        'data', 'convert', tmp_path / 'in', tmp_path / 'out', '--to', 'yolo', '--ignored-as-objects'
    )
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows['train'] == ['6', '0', '0', '6']
    assert sum(len(p.read_text().splitlines()) for p in tmp_path.glob('out/labels/train/*')) == 6
