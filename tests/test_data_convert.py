import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from mbv2_backbone.data.image_files import EXIF_ORIENTATION
from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset
from mbv2_backbone.errors import UserError
from mbv2_backbone.sets.convert import LAYOUTS, convert
from mbv2_backbone.sets.convert.outlines import area_of, join_parts, read_outline
from mbv2_backbone.sets.convert.photos import Findings, load_image, read_photo
from mbv2_backbone.sets.convert.writers import WRITERS
from mbv2_backbone.sets.find import find_set

REPOSITORY = Path(__file__).parents[1]
CLASSES = ('zebra fish', 'größe', '细胞')  # not in the order of the alphabet
PAIRS = [(a, b) for a in LAYOUTS for b in LAYOUTS if a != b]
NUM = {'train': 7, 'val': 4}


def write_coco(root, splits):
    """Write `{split: {file name: (width, height, objects)}}` without the code that is tested."""
    (root / 'annotations').mkdir(parents=True)
    for split, images in splits.items():
        document = dict(images=[], annotations=[], categories=[])
        document['categories'] = [dict(id=3 * i + 2, name=n) for i, n in enumerate(CLASSES)]
        for image_id, (name, (width, height, objects)) in enumerate(images.items()):
            path = root / split / name
            path.parent.mkdir(exist_ok=True)
            pixels = np.random.default_rng(image_id).integers(0, 255, (height, width, 3), np.uint8)
            path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
            document['images'].append(dict(id=image_id, file_name=name, width=width, height=height))
            for fields in objects:
                fields = dict(iscrowd=0, category_id=2) | fields
                fields |= dict(id=len(document['annotations']), image_id=image_id)
                document['annotations'].append(fields)
        path = root / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(document), encoding='utf-8')
    return root


def random_set(root, seed):
    """Write a set of float boxes, some of them ignored, with images that have none."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split, count in NUM.items():
        splits[split] = {}
        for i in range(count):
            width, height = rng.integers(40, 90, 2).tolist()
            objects = []
            for _ in range(0 if i % 3 == 1 else rng.integers(1, 5)):
                x, y = rng.uniform(0, width - 8), rng.uniform(0, height - 8)
                w, h = rng.uniform(4, width - x), rng.uniform(4, height - y)
                objects.append(
                    dict(
                        category_id=int(rng.choice([2, 5])),  # the third class has no object
                        bbox=[x, y, w, h],
                        iscrowd=int(rng.random() < 0.3),
                    )
                )
            splits[split][f'{split} photo {i}.jpg'] = (width, height, objects)
    return write_coco(root, splits), splits


def objects_of(records, *, with_ignored=True):
    found = [
        (label, is_ignored, *box)
        for box, label, is_ignored in zip(
            records.boxes, records.labels, records.is_ignored, strict=True
        )
        if with_ignored or not is_ignored
    ]
    return np.array(found, float).reshape(-1, 6)


def truth_of(objects, *, with_ignored=True):
    rows = []
    for item in objects:
        x, y, w, h = item['bbox']
        label = (item['category_id'] - 2) // 3
        if with_ignored or not item['iscrowd']:
            rows.append([label, item['iscrowd'], x, y, x + w, y + h])
    return np.array(rows, float).reshape(-1, 6)


def contents(root):
    files = [path for path in sorted(root.rglob('*')) if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(('first', 'second'), PAIRS)
def test_round_trips(tmp_path, first, second):
    source, splits = random_set(tmp_path / 'source', seed=PAIRS.index((first, second)))
    before = contents(source)
    done = convert(source, tmp_path / 'first', to=first)
    assert done.source_layout == 'coco'
    assert done.problems == []
    again = convert(tmp_path / 'first', tmp_path / 'second', to=second)
    assert again.source_layout == first
    assert again.problems == []
    assert contents(source) == before

    result = find_set(tmp_path / 'second')
    assert result.layout == second
    assert result.classes == CLASSES
    assert {split: len(items) for split, items in result.splits.items()} == NUM
    with_ignored = 'yolo' not in (first, second)
    tolerance = 0.501 if 'voc' in (first, second) else 1e-3
    for split, images in splits.items():
        by_stem = {item.path.stem: item.record for item in result.splits[split]}
        for name, (_, _, objects) in images.items():
            stem = Path(name).stem
            record = by_stem[stem.replace(' ', '_') if 'voc' in (first, second) else stem]
            found = objects_of(record)
            if second == 'voc':
                found[:, 4:] += 1  # mmdet's reading leaves the last pixel out
            expected = truth_of(objects, with_ignored=with_ignored)
            assert len(found) == len(expected)
            np.testing.assert_allclose(found, expected, atol=tolerance)
            assert cv2.imread(str(record.path)).shape[:2] == tuple(images[name][1::-1])


def test_the_sample_in_voc_layout_becomes_its_coco_layout(sample_set, tmp_path):
    convert(sample_set, tmp_path / 'out', to='coco', layout='voc')
    for split in ('train', 'val'):
        documents = [
            json.loads((root / 'annotations' / f'{split}.json').read_text())
            for root in (sample_set, tmp_path / 'out')
        ]
        files, boxes = [], []
        for document in documents:
            names = {item['id']: item['name'] for item in document['categories']}
            files.append([image['file_name'] for image in document['images']])
            boxes.append(
                [
                    (a['image_id'], names[a['category_id']], a['bbox'])
                    for a in document['annotations']
                ]
            )
        assert files[0] == files[1]
        assert boxes[0] == boxes[1]


def test_mmdet_reads_coco(tmp_path):
    source, splits = random_set(tmp_path / 'source', seed=50)
    convert(source, tmp_path / 'out', to='coco')
    dataset = CheckedCocoDataset(
        data_root=str(tmp_path / 'out'),
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/val/'),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
    )
    assert dataset.dropped_boxes == []
    for info, (_, _, objects) in zip(dataset, splits['val'].values(), strict=True):
        found = [(i['bbox_label'], i['ignore_flag'], *i['bbox']) for i in info['instances']]
        np.testing.assert_allclose(np.reshape(found, (-1, 6)), truth_of(objects), atol=1e-3)
        assert Path(info['img_path']).is_file()


def test_mmdet_reads_voc(tmp_path):
    source, splits = random_set(tmp_path / 'source', seed=51)
    convert(source, tmp_path / 'out', to='voc')
    dataset = CheckedVOCDataset(
        data_root=str(tmp_path / 'out'),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
    )
    assert dataset.dropped_boxes == []
    for info, (_, _, objects) in zip(dataset, splits['train'].values(), strict=True):
        found = [(i['bbox_label'], i['ignore_flag'], *i['bbox']) for i in info['instances']]
        last_pixel = [0, 0, 0, 0, 1, 1]
        np.testing.assert_allclose(
            np.reshape(found, (-1, 6)) + last_pixel, truth_of(objects), atol=0.501
        )
        assert Path(info['img_path']).is_file()
    lists = tmp_path / 'out' / 'ImageSets' / 'Main'
    assert len((lists / 'trainval.txt').read_text().split()) == sum(NUM.values())


def test_yolo_files(tmp_path):
    source, splits = random_set(tmp_path / 'source', seed=52)
    done = convert(source, tmp_path / 'out', to='yolo')
    root = tmp_path / 'out'
    config = yaml.safe_load((root / 'data.yaml').read_text(encoding='utf-8'))
    assert config == dict(
        train='images/train', val='images/val', nc=3, names=dict(enumerate(CLASSES))
    )
    num_ignored = 0
    for split, images in splits.items():
        for name, (width, height, objects) in images.items():
            assert (root / 'images' / split / name).is_file()
            rows = (root / 'labels' / split / name).with_suffix('.txt').read_text().splitlines()
            kept = [item for item in objects if not item['iscrowd']]
            num_ignored += len(objects) - len(kept)
            assert len(rows) == len(kept)
            for row, item in zip(rows, kept, strict=True):
                label, *numbers = map(float, row.split())
                x, y, w, h = item['bbox']
                assert label == (item['category_id'] - 2) // 3
                expected = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
                np.testing.assert_allclose(numbers, expected, atol=1e-8)
    assert num_ignored
    assert any(note.startswith(f'{num_ignored} difficult') for note in done.notes)


def test_labelme_files(tmp_path):
    objects = [dict(bbox=[1.5, 2, 10, 20], iscrowd=1), dict(bbox=[4, 5, 6, 7], category_id=5)]
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, objects)}})
    convert(source, tmp_path / 'out', to='labelme')
    document = json.loads((tmp_path / 'out/train/a.json').read_text(encoding='utf-8'))
    assert (document['imagePath'], document['imageData']) == ('a.jpg', None)
    assert (document['imageWidth'], document['imageHeight']) == (40, 30)
    first, second = document['shapes']
    assert (first['label'], second['label']) == CLASSES[:2]
    assert first['points'] == [[1.5, 2], [11.5, 22]]
    assert first['shape_type'] == second['shape_type'] == 'rectangle'
    assert (first['flags'], second['flags']) == ({'difficult': True}, {})


TWO_PARTS = [[2.5, 3, 20, 3, 20, 15], [25, 5, 38, 5, 38, 25, 25, 25]]
RUNS = {'size': [30, 40], 'counts': [30 * 5 + 4, 10] + [20, 10] * 6 + [30 * 28 + 16]}


def outlined(tmp_path):
    one = dict(bbox=[2, 3, 18, 12], segmentation=[[2, 3, 20, 3, 20, 15]])
    two = dict(bbox=[2.5, 3, 35.5, 22], segmentation=TWO_PARTS)
    plain = dict(bbox=[5, 6, 7, 8])
    return write_coco(tmp_path / 'in', {'train': {'a.png': (40, 30, [one, two, plain])}, 'val': {}})


def coco_outlines(root):
    document = json.loads((root / 'annotations' / 'train.json').read_text())
    return [item['segmentation'] for item in document['annotations']]


def test_outlines_pass_through_labelme(tmp_path):
    convert(outlined(tmp_path), tmp_path / 'labelme', to='labelme')
    shapes = json.loads((tmp_path / 'labelme/train/a.json').read_text())['shapes']
    assert [shape['shape_type'] for shape in shapes] == ['polygon'] * 3 + ['rectangle']
    assert [shape['group_id'] for shape in shapes] == [None, 2, 2, None]
    done = convert(tmp_path / 'labelme', tmp_path / 'coco', to='coco')
    assert done.counts['train'] == (1, 0, 3)
    assert coco_outlines(tmp_path / 'coco') == [[[2, 3, 20, 3, 20, 15]], TWO_PARTS, []]


def test_outlines_pass_through_yolo(tmp_path):
    convert(outlined(tmp_path), tmp_path / 'yolo', to='yolo')
    rows = (tmp_path / 'yolo/labels/train/a.txt').read_text().splitlines()
    assert all(len(row.split()) > 5 for row in rows), 'Ultralytics refuses mixed rows'
    convert(tmp_path / 'yolo', tmp_path / 'coco', to='coco')
    (one,), (two,), (plain,) = coco_outlines(tmp_path / 'coco')
    np.testing.assert_allclose(one, [2, 3, 20, 3, 20, 15], atol=1e-5)
    np.testing.assert_allclose(plain, [5, 6, 12, 6, 12, 14, 5, 14], atol=1e-5)
    drawn, expected = np.zeros((2, 300, 400), np.uint8)
    cv2.fillPoly(drawn, [np.round(np.reshape(two, (-1, 2)) * 10).astype(int)], 1)
    for part in TWO_PARTS:
        cv2.fillPoly(expected, [np.round(np.reshape(part, (-1, 2)) * 10).astype(int)], 1)
    assert (drawn != expected).sum() < 100  # the bridge, a line
    assert area_of([two]) == pytest.approx(area_of(TWO_PARTS), abs=1e-3)


def test_voc_names_the_outlines_that_it_loses(tmp_path):
    done = convert(outlined(tmp_path), tmp_path / 'out', to='voc')
    assert '2 outline(s) are left out: VOC holds boxes only' in done.notes


def test_run_lengths_become_polygons():
    mask_utils = pytest.importorskip('pycocotools.mask')
    polygons = read_outline(RUNS, (40, 30))
    mask = mask_utils.decode(mask_utils.frPyObjects(RUNS, 30, 40))
    assert mask.sum() == 70
    runs = mask_utils.frPyObjects([list(map(float, part)) for part in polygons], 30, 40)
    np.testing.assert_array_equal(mask_utils.decode(mask_utils.merge(runs)), mask)


@pytest.mark.parametrize('stored', [None, [], [[1, 2, 3, 4]], 'x', [[1, 2, 3, 4, 5, float('nan')]]])
def test_no_outline(stored):
    assert read_outline(stored, (40, 30)) == []


def test_an_outline_is_cut_at_the_edges():
    assert read_outline([[-3, 5, 50, 5, 50, 99]], (40, 30)) == [[0, 5, 40, 5, 40, 30]]


def test_joined_parts_keep_their_points():
    joined = np.reshape(join_parts(TWO_PARTS), (-1, 2)).tolist()
    assert {tuple(p) for p in joined} == {
        tuple(p) for part in TWO_PARTS for p in np.reshape(part, (-1, 2)).tolist()
    }


def test_boxes_that_are_not_around_their_outlines_are_counted(tmp_path):
    item = dict(bbox=[2, 3, 30, 12], segmentation=[[2, 3, 20, 3, 20, 15]])
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [item])}})
    for to in ('yolo', 'labelme'):
        notes = convert(source, tmp_path / to, to=to).notes
        assert any(note.startswith('1 box(es) become') and '12.0 pixels' in note for note in notes)
    notes = convert(source, tmp_path / 'coco', to='coco').notes
    assert not any('box(es)' in note for note in notes)


def test_problems_are_named(tmp_path):
    objects = [
        dict(bbox=[4, 5, 6, 7]),
        dict(bbox=[100, 5, 6, 7]),
        dict(bbox=[4, 5, 6, 7], category_id=77),
        dict(bbox=[4, 5, 0, 7]),
        dict(bbox=[30, 5, 20, 7]),
    ]
    images = {'a.jpg': (40, 30, objects), 'b.jpg': (40, 30, []), 'c.jpg': (40, 30, [])}
    source = write_coco(tmp_path / 'in', {'train': images})
    (source / 'train/b.jpg').unlink()
    (source / 'train/c.jpg').write_bytes(b'no image')
    done = convert(source, tmp_path / 'out', to='coco')
    assert done.counts == {'train': (1, 0, 2)}
    text = '\n'.join(done.problems)
    for part in (
        'a.jpg: box [100, 5, 6, 7] outside the image; left out',
        "unknown class '77'; left out",
        'zero area; left out',
        'box [30, 5, 20, 7] reaches beyond the image; cut',
        'b.jpg does not exist; left out',
        'c.jpg cannot be read',
    ):
        assert part in text
    assert len(done.problems) == 6
    document = json.loads((tmp_path / 'out/annotations/train.json').read_text())
    assert [a['bbox'] for a in document['annotations']] == [[4, 5, 6, 7], [30, 5, 10, 7]]


def test_an_unknown_class_of_yolo_and_a_broken_xml_are_named(tmp_path):
    source, _ = random_set(tmp_path / 'in', seed=60)
    convert(source, tmp_path / 'yolo', to='yolo')
    label = next((tmp_path / 'yolo/labels/train').glob('*.txt'))
    label.write_text('8 0.5 0.5 0.2 0.2\n')
    assert any(
        "unknown class '8'" in p
        for p in convert(tmp_path / 'yolo', tmp_path / 'a', to='coco').problems
    )
    convert(source, tmp_path / 'voc', to='voc')
    broken = next((tmp_path / 'voc/Annotations').glob('train*.xml'))
    broken.write_text('<annotation')
    done = convert(tmp_path / 'voc', tmp_path / 'b', to='coco')
    assert done.counts['train'][0] == NUM['train'] - 1
    assert any(broken.name in p and 'left out' in p for p in done.problems)


def test_a_photo_turned_by_exif_data(tmp_path):
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [dict(bbox=[30, 5, 8, 7])])}})
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    photo = Image.open(source / 'train/a.jpg')
    photo.save(source / 'train/a.jpg', exif=exif)
    done = convert(source, tmp_path / 'coco', to='coco')
    assert len(done.problems) == 1
    assert 'a.jpg is turned by its EXIF data' in done.problems[0]
    document = json.loads((tmp_path / 'coco/annotations/train.json').read_text())
    assert (document['images'][0]['width'], document['images'][0]['height']) == (40, 30)
    item = find_set(tmp_path / 'coco', keep_splits=True).images[0]
    assert load_image(read_photo(item, 'coco', Findings())).shape == (30, 40, 3)


def test_a_size_that_is_not_the_image_s_is_named(tmp_path):
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    path = source / 'annotations/instances_train.json'
    path.write_text(path.read_text().replace('"width": 40', '"width": 80'))
    (problem,) = convert(source, tmp_path / 'out', to='coco').problems
    assert 'a.jpg is 40x30 pixels, its annotation says 80x30' in problem


def test_images_without_annotations_are_counted(tmp_path):
    source, _ = random_set(tmp_path / 'in', seed=61)
    (source / 'val/more.jpg').write_bytes((source / 'val/val photo 0.jpg').read_bytes())
    notes = convert(source, tmp_path / 'out', to='yolo').notes
    assert '1 image(s) without annotations are left out: more.jpg' in notes


def test_names_that_are_there_twice(tmp_path):
    images = {'1.jpg': (40, 30, [dict(bbox=[4, 5, 6, 7])])}
    other = {'1.jpg': (50, 30, [dict(bbox=[8, 5, 6, 7])])}
    source = write_coco(tmp_path / 'in', {'train': images, 'val': other})
    done = convert(source, tmp_path / 'voc', to='voc')
    assert any('1.jpg is 1_2.jpg in the new set' in note for note in done.notes)
    assert (tmp_path / 'voc/ImageSets/Main/val.txt').read_text() == '1_2\n'
    assert cv2.imread(str(tmp_path / 'voc/JPEGImages/1_2.jpg')).shape[1] == 50
    convert(source, tmp_path / 'coco', to='coco')
    assert cv2.imread(str(tmp_path / 'coco/images/val/1.jpg')).shape[1] == 50


def test_voc_has_jpeg_only(tmp_path):
    done = convert(outlined(tmp_path), tmp_path / 'out', to='voc')
    data = (tmp_path / 'out/JPEGImages/a.jpg').read_bytes()
    assert data.startswith(b'\xff\xd8')
    assert any(note.startswith('1 image(s) were encoded as JPEG') for note in done.notes)
    again = convert(tmp_path / 'in', tmp_path / 'yolo', to='yolo')
    assert (tmp_path / 'yolo/images/train/a.png').read_bytes().startswith(b'\x89PNG')
    assert not any('JPEG' in note for note in again.notes)


def test_one_image_without_objects(tmp_path):
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    for to in LAYOUTS:
        done = convert(source, tmp_path / to, to=to)
        assert done.counts == {'train': (1, 1, 0)}
    notes = convert(source, tmp_path / 'again', to='yolo').notes
    assert any("no split 'val'" in note for note in notes)
    assert (tmp_path / 'yolo/labels/train/a.txt').read_text() == ''


def test_images_are_linked_or_copied(tmp_path):
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    original = source / 'train/a.jpg'
    for copy in (False, True):
        convert(source, tmp_path / 'out', to='yolo', copy=copy, force=True)
        placed = tmp_path / 'out/images/train/a.jpg'
        assert placed.read_bytes() == original.read_bytes()
        assert os.path.samefile(placed, original) != copy


def test_a_target_that_exists_is_refused(tmp_path):
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    target = tmp_path / 'out'
    target.mkdir()
    (target / 'precious.txt').write_text('mine')
    with pytest.raises(UserError, match='--force'):
        convert(source, target, to='voc')
    assert contents(target) == {'precious.txt': b'mine'}
    convert(source, target, to='voc', force=True)
    assert not (target / 'precious.txt').exists()
    for inside in (source, source / 'new', tmp_path):
        with pytest.raises(UserError, match='must not lie in each other'):
            convert(source, inside, to='voc', force=True)


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    source = write_coco(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})

    def fail(root, classes, splits):
        (root / 'half').write_text('x')
        raise OSError('disk full')

    monkeypatch.setitem(WRITERS, 'voc', fail)
    with pytest.raises(OSError, match='disk full'):
        convert(source, tmp_path / 'out', to='voc')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']


def test_a_set_without_boxes_is_refused(tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / 'in' / folder).mkdir(parents=True)
        pixels = np.zeros((8, 8), np.uint8)
        for name in 'ab':
            cv2.imwrite(str(tmp_path / 'in' / folder / f'{name}.png'), pixels)
    with pytest.raises(UserError, match='without boxes'):
        convert(tmp_path / 'in', tmp_path / 'out', to='coco')


def run_tool(*args):
    command = [sys.executable, str(REPOSITORY / 'tools' / 'data.py'), *map(str, args)]
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY))
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_tool(sample_set, tmp_path):
    out = tmp_path / 'yolo'
    done = run_tool('convert', sample_set, out, '--to', 'yolo', '--from', 'voc')
    assert done.returncode == 0, done.stderr
    assert f'voc to yolo: {out}' in done.stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows['train'][0] == '24'
    assert rows['val'][0] == '8'
    assert len(list((out / 'labels').rglob('*.txt'))) == 32
    again = run_tool('convert', sample_set, out, '--to', 'yolo')
    assert again.returncode == 2
    assert 'error:' in again.stderr
    assert '--force' in again.stderr
