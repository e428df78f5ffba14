"""The layouts that labelling tools and tutorials write are found, and others are drawn."""

import json
import shutil

import numpy as np
import pytest
from helpers.layouts import ALL, BOXES, MASKS, NAMES, compare, draw, splits_of, yolo_rows
from helpers.paths import ROOT
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset
from mbv2_backbone.workbench.data.layouts import LAYOUTS

EXPORTED = ROOT / 'tests/data/exporters'
WITHOUT_SPLITS = ('label_studio_coco', 'label_studio_voc', 'label_studio_yolo', 'labelme')
NONE = (0, 0, 0, 0)
SHORT = (0, 0, -1, -1)  # the last pixel is lost on two sides
# mmdet takes 1 off VOC's last pixel, too, which is counted from 1 and inside.
SHIFTS = {'voc': SHORT}
# Supervisely's export is short itself; Datumaro and Label Studio count from 0 in VOC's format.
SHIFTS |= {'supervisely_coco': SHORT, 'roboflow_voc': SHORT}
TOOLS = sorted(path.name for path in EXPORTED.iterdir() if path.is_dir())


def names_of(splits):
    return sorted(name for names in splits.values() for name in names)


def judge(root, format_name, has_splits, shift=NONE):
    found = find_dataset(root)
    assert found.format == format_name
    assert compare(found, shift=shift) == []
    assert found.problems == found.unlabelled == []
    splits = splits_of(found)
    assert names_of(splits) == ALL
    assert found.is_split_by_name == (not has_splits)
    if has_splits:
        assert splits == {split: list(names) for split, names in NAMES.items()}
    assert not check_folder(root, task='det').stops_training


@pytest.mark.parametrize('tool', TOOLS)
def test_what_tools_export_is_found(tool):
    kind = 'labelme' if tool == 'labelme' else next(k for k in LAYOUTS if k in tool.split('_'))
    judge(EXPORTED / tool, kind, tool not in WITHOUT_SPLITS, SHIFTS.get(tool, NONE))


@pytest.mark.parametrize('name', BOXES)
def test_what_tools_and_tutorials_lay_out_is_found(name, tmp_path):
    write, kind, has_splits = BOXES[name]
    write(tmp_path)
    judge(tmp_path, kind, has_splits, SHIFTS.get(kind, NONE))


@pytest.mark.parametrize('name', [*TOOLS, *BOXES])
def test_every_layout_is_converted_with_its_boxes_and_splits(name, tmp_path):
    source = EXPORTED / name
    has_splits = name not in WITHOUT_SPLITS
    if name in BOXES:
        source = tmp_path / 'in'
        write, _, has_splits = BOXES[name]
        write(source)
    convert(source, tmp_path / 'out', to='coco')
    found = find_dataset(tmp_path / 'out', keep_splits=True)
    assert compare(found, shift=SHORT if name == 'supervisely_coco' else NONE) == []
    splits = splits_of(found)
    assert splits == ({s: list(n) for s, n in NAMES.items()} if has_splits else {'train': ALL})


@pytest.mark.parametrize('name', MASKS)
def test_masks_are_found(name, tmp_path):
    write, has_splits = MASKS[name]
    write(tmp_path)
    report = check_folder(tmp_path, task='seg')
    assert report.dataset.format == 'masks'
    assert not report.stops_training
    assert names_of(splits_of(report.dataset)) == ALL
    assert report.dataset.is_split_by_name == (not has_splits)
    masks = [(item.path.stem, item.mask.stem) for item in report.dataset.images]
    assert all(image == mask for image, mask in masks)
    assert all('Object' not in str(item.mask) for item in report.dataset.images)


def test_images_of_one_name_belong_to_the_annotations_of_their_own_split(tmp_path):
    """Each split counts its images from 0."""
    for split, names in NAMES.items():
        for i, name in enumerate(names):
            draw(name, tmp_path / f'{split}_images/{i}.jpg')
            (tmp_path / f'{split}_labels').mkdir(exist_ok=True)
            (tmp_path / f'{split}_labels/{i}.txt').write_text(yolo_rows(name))
    (tmp_path / 'classes.txt').write_text('ball\ncube\n')
    found = find_dataset(tmp_path)
    assert {split: len(items) for split, items in found.splits.items()} == dict(train=4, val=2)
    for items in found.splits.values():
        for item in items:
            assert item.annotation.parent.name.partition('_')[0] in item.path.parent.name


@pytest.mark.parametrize('place', ['{split}', 'images/{split}'])
def test_one_folder_of_annotations_serves_several_of_images(place, tmp_path):
    write = BOXES['raccoon'][0]
    write(tmp_path)
    for split, names in NAMES.items():
        for name in names:
            target = tmp_path / place.format(split=split) / f'{name}.jpg'
            target.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f'images/{name}.jpg').rename(target)
    judge(tmp_path, 'voc', True, SHORT)


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    write_raccoon(tmp_path / 'disk')
    root = tmp_path / 'set'
    root.mkdir()
    for name in ('images', 'annotations'):
        (root / name).symlink_to(tmp_path / 'disk' / name)
    (tmp_path / 'disk/images/up').symlink_to(tmp_path / 'disk/images')
    judge(root, 'voc', False, SHORT)


def write_raccoon(root):
    BOXES['raccoon'][0](root)


def test_a_second_folder_of_annotations_is_named(tmp_path):
    write_raccoon(tmp_path)
    shutil.copytree(tmp_path / 'annotations', tmp_path / 'annotations_old')
    found = find_dataset(tmp_path)
    assert names_of(splits_of(found)) == ALL
    assert '6 annotation file(s) are not used' in '\n'.join(found.notes)
    assert 'annotations_old/a1.xml' in '\n'.join(found.notes)


def test_an_annotation_without_an_image_is_named(tmp_path):
    write_raccoon(tmp_path)
    (tmp_path / 'images/b1.jpg').unlink()
    report = check_folder(tmp_path, task='det')
    assert report.stops_training
    assert 'b1.jpg' in str(report)


def test_a_folder_of_images_that_nothing_is_read_from_is_named(tmp_path):
    write_raccoon(tmp_path)
    for name in ('c1', 'c2'):
        draw(name, tmp_path / f'more/{name}.jpg')
    shutil.copytree(tmp_path / 'images', tmp_path / 'visualizations')
    (note,) = [note for note in find_dataset(tmp_path).notes if 'were found' in note]
    assert note.endswith(f'2 in {tmp_path / "more"}')


def test_hidden_files_of_other_systems_are_no_images(tmp_path):
    """macOS puts `._a1.jpg` beside a1.jpg on disks of other systems, and `__MACOSX` in archives."""
    write_raccoon(tmp_path)
    for place in ('images/._a1.jpg', 'annotations/._a1.xml', '__MACOSX/images/._a1.jpg'):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b'\0\5\x16\7')
    judge(tmp_path, 'voc', False, SHORT)


def test_several_datasets_in_a_folder_are_named(tmp_path):
    BOXES['in a folder'][0](tmp_path)
    shutil.copytree(tmp_path / 'toys', tmp_path / 'cars')
    with pytest.raises(UserError, match=r'several datasets: \S*cars \(voc\), \S*toys \(voc\)'):
        find_dataset(tmp_path)


NOT_FOUND = {
    'images alone': ({}, 'no annotation files and no masks of their names', 'coco'),
    'a table': ({'labels.csv': 'a1.jpg,1,2,3,4'}, 'labels.csv is a table; export as COCO', 'coco'),
    'other names': (
        {f'labels/{n}_gt.txt': yolo_rows(n) for n in ALL},
        'labels/a1_gt.txt has the name of no image',
        'yolo',
    ),
    'other rows': ({f'{n}.txt': 'a photo of a ball' for n in ALL}, 'not the content', 'yolo'),
    'CVAT': ({'annotations.xml': '<annotations><meta>'}, "CVAT's own XML; export the task", 'voc'),
    'VoTT': ({'toys-export.json': '{"name": "toys", "assets": {}}'}, "VoTT's own JSON", 'coco'),
    'Label Studio': (
        {'export.json': '[{"annotations": [{"value": {"rectanglelabels": ["ball"]}}]}]'},
        "Label Studio's own JSON; export again, as COCO",
        'coco',
    ),
    'Supervisely': (
        {f'ann/{n}.jpg.json': '{"objects": [{"classTitle": "ball"}]}' for n in ALL},
        "Supervisely's own JSON; use its app Export to COCO",
        'labelme',
    ),
    'VIA': ({'via.json': '{"a1.jpg": {"shape_attributes": 0}}'}, "VIA's own JSON", 'coco'),
    'no list': ({'train.json': '{"items": []}'}, 'train.json has no list `images`', 'coco'),
}


@pytest.mark.parametrize('kind', NOT_FOUND)
def test_what_is_not_found_is_drawn_beside_the_nearest_layout(kind, tmp_path):
    files, reason, nearest = NOT_FOUND[kind]
    for name in ALL:
        draw(name, tmp_path / f'photos/{name}.jpg')
    for name, text in files.items():
        path = tmp_path / 'photos' / name if kind == 'other rows' else tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        find_dataset(tmp_path)
    text = str(caught.value)
    assert reason in text
    assert LAYOUTS[nearest].splitlines()[0] in text
    assert text.splitlines()[-1].endswith(str(tmp_path))
    lines = [' '.join(line.split()) for line in text.splitlines()]
    assert any(line.startswith('photos/ 6 ') for line in lines)


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match='there is no image'):
        find_dataset(tmp_path)


def test_captions_beside_instances_are_left_alone_but_no_other_file_is(tmp_path):
    BOXES['supervisely'][0](tmp_path)
    for split in NAMES:
        folder = tmp_path / split / 'annotations'
        document = json.loads((folder / 'instances.json').read_text())
        (folder / 'captions.json').write_text(json.dumps(document | {'annotations': []}))
    judge(tmp_path, 'coco', True)


def test_masks_of_one_split_in_several_folders_are_refused_by_name(tmp_path):
    for name, folder in zip(ALL, 'xxyyyy', strict=True):
        draw(name, tmp_path / f'images/{folder}/{name}.jpg')
        (tmp_path / f'masks/{folder}').mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(
            tmp_path / f'masks/{folder}/{name}.png'
        )
    found = find_dataset(tmp_path, task='seg')
    assert len(found.images) == 6
    assert found.foreign == 'has the all images in several folders'
