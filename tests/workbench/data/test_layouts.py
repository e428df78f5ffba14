"""docs/data.md shows only layouts that are found, and all that the messages draw."""

import re

import pytest
from helpers.layouts import CLASSES, NAMES, coco, draw, labelme_json, mask, voc_of, yolo_rows
from helpers.paths import ROOT

from mbv2_backbone.workbench.data.find import find_dataset
from mbv2_backbone.workbench.data.layouts import LAYOUTS

TEXT = (ROOT / 'docs/data.md').read_text(encoding='utf-8')
FILES_OF = {
    (title.lower(), number): [line.split()[0] for line in block.splitlines()]
    for title, body in re.findall(r'^## (\w+)\n(.*?)(?=^## |\Z)', TEXT, re.M | re.S)
    for number, block in enumerate(re.findall(r'^```text\n(.*?)^```', body, re.M | re.S))
}


def write_file(path, kind, names):
    """Write a file that a page draws, `a.jpg` for each of the names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    each = {name: path.with_stem(name) for name in names}
    if path.name == 'a.jpg':
        for name, file in each.items():
            draw(name, file)
    elif path.name == 'a.png':
        for name, file in each.items():
            mask(file, name)
    elif path.stem == 'a':
        text = dict(voc=voc_of, yolo=yolo_rows, labelme=labelme_json)[kind]
        for name, file in each.items():
            file.write_text(text(name), 'utf-8')
    elif path.suffix == '.json':
        path.write_text(coco(names))
    elif path.name == 'data.yaml':
        path.write_text(f'names: {list(CLASSES)}\n')
    elif path.name == 'obj.data':
        path.write_text('train = data/train.txt\nnames = data/obj.names\n')
    elif path.name == 'train.txt' and path.parent.name != 'Main':
        path.write_text(''.join(f'data/obj_train_data/{name}.jpg\n' for name in names))
    elif path.suffix == '.txt' and path.stem in NAMES:
        path.write_text('\n'.join(names))
    else:
        path.write_text('\n'.join((*(['background'] if kind == 'masks' else []), *CLASSES)))


@pytest.mark.parametrize(('kind', 'number'), FILES_OF)
def test_a_layout_of_the_page_is_found(kind, number, tmp_path):
    places = FILES_OF[kind, number]
    has_splits = any('train' in place for place in places) and 'obj.data' not in places
    everything = [name for names in NAMES.values() for name in names]
    for place in places:
        if has_splits and 'train' in place:
            for split, names in NAMES.items():
                write_file(tmp_path / place.replace('train', split), kind, names)
        elif 'val' not in place:
            write_file(tmp_path / place, kind, everything)
    found = find_dataset(tmp_path, task='seg' if kind == 'masks' else 'det')
    assert found.format == kind
    assert sorted(item.path.stem for item in found.images) == everything
    assert all(len(item.record.boxes) == 2 or item.mask for item in found.images)
    assert all(not item.record.problems for item in found.images)
    assert found.is_split_by_name == (not has_splits)
    if has_splits:
        assert {s: len(items) for s, items in found.splits.items()} == dict(train=4, val=2)


def test_the_page_shows_each_format_and_what_the_messages_draw():
    assert {kind for kind, _ in FILES_OF} == set(LAYOUTS)
    for kind, drawn in LAYOUTS.items():
        names = {re.sub(r'\w+\.json', '.json', line.split()[0]) for line in drawn.splitlines()}
        shown = {n for (k, _), files in FILES_OF.items() if k == kind for n in files}
        assert names <= {re.sub(r'\w+\.json', '.json', name) for name in shown}
