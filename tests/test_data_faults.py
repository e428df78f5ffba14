"""Faults of real data sets, injected: the run goes on and names them, or is refused in time."""

import json
import textwrap
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fault_util import faulty_images, jpeg, picture
from mmengine.dataset import RepeatDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mbv2_backbone.data.image_files import read_image_facts
from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset
from mbv2_backbone.engine.broken_images import BrokenImagesHook, ReplaceBrokenImages
from mbv2_backbone.engine.run import train
from mbv2_backbone.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
BROKEN = {
    'truncated.jpg': 'is cut off or damaged',
    'zero.jpg': 'is empty',
    'text.jpg': 'cannot be read',
    'missing.jpg': 'does not exist',
}
UNUSUAL = {
    'gray.jpg': 'are grayscale, read as 8-bit colour',
    'cmyk.jpg': 'are CMYK, read as 8-bit colour',
    'png16.jpg': 'are of 16 bits, read as 8-bit colour',
    'raw.jpg': 'are not turned as their EXIF data says',
    'tiny.jpg': 'are less than 8 pixels wide or high',
}
LOAD = dict(type='LoadImageFromFile')
LAZY = [
    dict(type='LoadImageLazily'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomExpandCropResize', scale=(64, 64)),
    dict(type='PackDetInputs'),
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


def coco_file(sizes, boxes=None, first_id=0):
    """A COCO file of images by their sizes; one box in the middle, where none is given."""
    images = [
        dict(id=first_id + i, file_name=f'{name}.jpg', width=w, height=h)
        for i, (name, (w, h)) in enumerate(sizes.items())
    ]
    annotations = []
    for image in images:
        w, h = image['width'], image['height']
        name = image['file_name'].removesuffix('.jpg')
        for box in (boxes or {}).get(name, [[w // 4, h // 4, max(1, w / 2), max(1, h / 2)]]):
            number = first_id + len(annotations)
            common = dict(id=number, image_id=image['id'], category_id=1)
            annotations.append(dict(common, bbox=box, area=9, iscrowd=0))
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='disc')])


def coco(folder, data, pipeline=(), classes=('disc',), **kwargs):
    (folder / 'a.json').write_text(data if isinstance(data, str) else json.dumps(data))
    return CheckedCocoDataset(
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        pipeline=list(pipeline),
        **kwargs,
    )


@pytest.fixture(scope='module')
def faulty(sample_set, tmp_path_factory):
    """The sample set with faulty images, a crowded and an empty one; and a config for it."""
    folder = tmp_path_factory.mktemp('faulty')
    sizes = faulty_images(folder / 'images')
    rng = np.random.default_rng(0)
    for name in ('crowded', 'empty', 'breaks_later'):
        (folder / f'images/{name}.jpg').write_bytes(jpeg(picture()))
        sizes[name] = (80, 60)
    boxes = dict(crowded=(rng.integers(1, 30, (1000, 4)) * [2, 1, 1, 1]).tolist(), empty=[])
    added = coco_file(sizes, boxes, first_id=10_000)
    data = json.loads((sample_set / 'annotations/train.json').read_text())
    for image in data['images']:
        image['file_name'] = str(sample_set / 'JPEGImages' / image['file_name'])
    for part in ('images', 'annotations'):
        data[part] += added[part]
    (folder / 'train.json').write_text(json.dumps(data))
    config = folder / 'config.py'
    config.write_text(
        textwrap.dedent(f"""
        _base_ = {str(ROOT / 'configs' / 'ssdlite_mbv2_sample.py')!r}
        model = dict(backbone=dict(widen_factor=0.25),
                     neck=dict(in_channels=(48, 144, 1280), out_channels=(48, 144, 1280, 64, 32)),
                     bbox_head=dict(in_channels=(48, 144, 1280, 64, 32)))
        train_dataloader = dict(
            batch_size=8, num_workers=0, persistent_workers=False,
            dataset=dict(data_root={str(folder)!r}, ann_file='train.json',
                         data_prefix=dict(img='images')))
        val_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False,
                              dataset=dict(data_root={str(sample_set)!r}))
        test_dataloader = val_dataloader
        val_evaluator = dict(ann_file={str(sample_set / 'annotations/val.json')!r})
        test_evaluator = val_evaluator
        train_cfg = dict(max_epochs=2, val_interval=9)
        default_hooks = dict(logger=dict(interval=1))
        """)
    )
    return folder, config


def losses_of(work_dir):
    path = next(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line['loss'] for line in lines if 'loss' in line]


def test_training_survives_what_can_be_survived_and_names_it(faulty, tmp_path, monkeypatch):
    folder, config = faulty
    check = BrokenImagesHook.before_train

    def break_one_after_the_check(hook, runner):
        check(hook, runner)
        (folder / 'images/breaks_later.jpg').write_bytes(jpeg(picture())[:-40])

    monkeypatch.setattr(BrokenImagesHook, 'before_train', break_one_after_the_check)
    train(str(config), work_dir=str(tmp_path), cfg_options=['max_broken_images=0.2'])
    losses = losses_of(tmp_path)
    assert len(losses) == 10  # 38 images in batches of 8, two epochs
    assert np.isfinite(losses).all()
    log = next(tmp_path.glob('*/*.log')).read_text()
    for name, problem in {**BROKEN, 'breaks_later.jpg': 'is cut off or damaged'}.items():
        path = str(folder / 'images' / name)
        assert log.count(f'{path} {problem}') == 1
        assert f'{path}\t{problem}' in (tmp_path / 'broken_images.txt').read_text()
    for name, note in UNUSUAL.items():
        line = next(line for line in log.splitlines() if note in line)
        assert name in line


def runner_with(dataset):
    """As much of a Runner as the hook looks at, training and validating on one dataset."""
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    return SimpleNamespace(train_loop=loop, val_loop=loop, test_loop=loop)


def hook_for(folder, max_share):
    record = str(folder / 'broken_images.txt')
    return BrokenImagesHook(record=record, max_share=max_share, check_first=True)


def test_too_many_broken_images_are_refused_before_the_first_step(tmp_path):
    sizes = faulty_images(tmp_path)
    runner = runner_with(coco(tmp_path, coco_file(sizes)))
    with pytest.raises(UserError, match=r'4 of 11 images .* max_broken_images=0.3'):
        hook_for(tmp_path, 0.3).before_train(runner)
    assert (tmp_path / 'broken_images.txt').read_text().count('\n') == 4


def test_a_broken_image_to_evaluate_on_is_refused(tmp_path):
    sizes = faulty_images(tmp_path)
    runner = runner_with(RepeatDataset(coco(tmp_path, coco_file(sizes)), 2))
    for start in ('before_train', 'before_test'):
        with pytest.raises(UserError, match='images to evaluate on are broken') as info:
            getattr(hook_for(tmp_path, 0.5), start)(runner)
        assert f'{tmp_path}/zero.jpg is empty' in str(info.value)


def test_too_many_broken_images_found_while_training_end_the_run(faulty, tmp_path):
    _, config = faulty
    with pytest.raises(UserError, match=r'of 38 images .* max_broken_images=0.05'):
        train(str(config), work_dir=str(tmp_path), cfg_options=['check_images=False'])


def test_a_fault_of_our_own_is_not_taken_for_a_broken_file(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(jpeg(picture()))
    pipeline = ReplaceBrokenImages(
        steps=[LOAD, dict(type='LoadAnnotations', with_bbox=True)], record=str(tmp_path / 'record')
    )
    with pytest.raises(KeyError):
        pipeline(dict(img_path=str(tmp_path / 'a.jpg'), instances=[{}]))


def test_segmentation_takes_another_image_and_another_mask(tmp_path):
    init_default_scope('mmseg')
    for name in ('sound', 'no_image', 'no_mask'):
        (tmp_path / f'{name}.jpg').write_bytes(jpeg(picture()))
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((60, 80), np.uint8))
    (tmp_path / 'no_image.jpg').write_bytes(jpeg(picture())[:500])
    (tmp_path / 'no_mask.png').write_bytes(b'')
    (tmp_path / 'list.txt').write_text('no_image\nno_mask\nsound\n')
    steps = [LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        ann_file='list.txt',
        data_prefix=dict(img_path='', seg_map_path=''),
        metainfo=dict(classes=('a', 'b')),
        pipeline=[
            dict(type='ReplaceBrokenImages', steps=steps, record=str(tmp_path / 'record.txt'))
        ],
    )
    for index in (0, 1, 2, 0, 1):
        path = dataset[index]['data_samples'].img_path
        assert path == str(tmp_path / 'sound.jpg')
    lines = (tmp_path / 'record.txt').read_text().splitlines()
    assert [Path(line.split('\t')[0]).name for line in lines] == ['no_image.jpg', 'no_mask.png']


def marked(orientation):
    """A photo that is black but for a white box, as stored and as seen: data, xywh, xywh."""
    stored = np.zeros((60, 90, 3), np.uint8)
    stored[10:25, 50:80] = 255
    data = jpeg(stored, orientation)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., 0] > 128
    ys, xs = np.nonzero(seen)
    box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
    return data, [50, 10, 30, 15], box


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'LoadImageLazily'])
@pytest.mark.parametrize('view', ['stored', 'seen'])
def test_boxes_of_turned_photos_fit(tmp_path, orientation, loader, view):
    """Whichever view was annotated; where the size does not tell, it is the one that is seen."""
    data, stored, seen = marked(orientation)
    if orientation in (2, 3, 4) and view == 'stored':
        pytest.skip('the size is the same in both views')
    (tmp_path / 'a.jpg').write_bytes(data)
    box = stored if view == 'stored' else seen
    size = (60, 90) if view == 'seen' and orientation >= 5 else (90, 60)
    dataset = coco(tmp_path, coco_file(dict(a=size), dict(a=[box])), [dict(type=loader)])
    results = dataset.prepare_data(0)
    img = results.get('img')
    if img is None:
        img = cv2.imdecode(np.frombuffer(results['img_bytes'], np.uint8), cv2.IMREAD_COLOR)
    assert img.shape[:2] == results['img_shape'] == size[::-1]
    x1, y1, x2, y2 = map(int, results['instances'][0]['bbox'])
    inside = np.zeros(img.shape[:2], bool)
    inside[y1:y2, x1:x2] = True
    assert img[inside].mean() > 230
    assert img[~inside].mean() < 10


def test_an_image_of_another_size_than_annotated(tmp_path):
    """Boxes that fit are kept; where they do not, another image takes its place."""
    for name in ('sound', 'fits', 'too_small'):
        (tmp_path / f'{name}.jpg').write_bytes(jpeg(picture()))
    sizes = dict(sound=(80, 60), fits=(160, 120), too_small=(160, 120))
    boxes = dict(fits=[[5, 5, 60, 50]], too_small=[[5, 5, 120, 90]])
    for loader in ('LoadImageFromFile', 'LoadImageLazily'):
        steps = [dict(type=loader)]
        wrapped = dict(type='ReplaceBrokenImages', steps=steps, record=str(tmp_path / loader))
        dataset = coco(tmp_path, coco_file(sizes, boxes), [wrapped])
        assert dataset[1]['img_id'] == 1
        assert {dataset[2]['img_id'] for _ in range(5)} <= {0, 1}
        said = (tmp_path / loader).read_text()
        assert 'is 80x60 pixels, its annotations are for 160x120' in said


def test_annotations_of_images_that_are_not_there_are_counted(tmp_path, log):
    data = coco_file(dict(a=(80, 60)))
    data['annotations'].append(dict(data['annotations'][0], id=77, image_id=5))
    assert len(coco(tmp_path, data)) == 1
    assert any('1 annotation(s) of images that it does not list' in line for line in log)


def peak_memory():
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


def test_a_huge_jpeg_is_decoded_small(tmp_path):
    cv2.imwrite(str(tmp_path / 'big.jpg'), np.full((9000, 12000), 99, np.uint8))
    dataset = coco(tmp_path, coco_file(dict(big=(12000, 9000))), LAZY)
    try:
        Path('/proc/self/clear_refs').write_text('5')  # the peak is counted from now on
    except OSError:
        pytest.skip('the kernel does not tell')
    before = peak_memory()
    sample = dataset.prepare_data(0)
    assert peak_memory() - before < 100  # MiB; decoded whole it takes 309
    assert sample['inputs'].shape == (3, 64, 64)
    assert sample['data_samples'].ori_shape == (9000, 12000)


def test_image_facts(tmp_path):
    (tmp_path / 'text').write_text('x')
    assert read_image_facts(str(tmp_path / 'text')).error.startswith('cannot be read')
    for orientation in range(1, 9):
        (tmp_path / 'a.jpg').write_bytes(jpeg(picture(), orientation))
        facts = read_image_facts(str(tmp_path / 'a.jpg'))
        assert facts.stored_wh == (80, 60)
        assert facts.orientation == orientation
        assert facts.seen_wh == cv2.imread(str(tmp_path / 'a.jpg')).shape[1::-1]
    (tmp_path / 'a.jpg').write_bytes(jpeg(picture()) + b'\0' * 5000)  # phones append videos
    assert not read_image_facts(str(tmp_path / 'a.jpg')).error
    Image.fromarray(picture()).save(tmp_path / 'a.png')
    assert not read_image_facts(str(tmp_path / 'a.png')).error
    (tmp_path / 'a.png').write_bytes((tmp_path / 'a.png').read_bytes()[:-20])
    assert read_image_facts(str(tmp_path / 'a.png')).error


def test_coco_files_that_would_mislead_are_refused(tmp_path):
    good = coco_file(dict(a=(80, 60), b=(80, 60)))
    cat, dog = dict(id=1, name='cat'), dict(id=2, name='dog')

    def refused(data, match, classes=('disc',)):
        with pytest.raises(UserError, match=match) as info:
            coco(tmp_path, data, classes=classes)
        assert 'a.json' in str(info.value)

    refused('', 'is no JSON')
    refused('{"images": [', 'is no JSON')
    refused('[' * 100_000, 'is no JSON')
    refused([], 'list')
    refused(dict(good, images=None), 'no list `images`')
    refused(dict(good, images=[]), 'names no image')
    refused(dict(good, images=[*good['images'], good['images'][0]]), 'several images with the id 0')
    refused(dict(good, annotations=good['annotations'] * 2), 'several annotations with the id 0, 1')
    refused(dict(good, categories=[cat, dict(dog, id=1)]), 'several categories with the id 1')
    refused(dict(good, categories=[cat, dict(cat, id=2)]), "several categories named 'cat'")
    refused(dict(good, images=[dict(good['images'][0], width=0)]), 'width of a.jpg is 0')
    refused(dict(good, annotations=[dict(id=1, bbox=[1, 1, 2, 2])]), 'without a image_id')
    refused(dict(good, categories=[cat, dog]), 'another order', classes=('dog', 'cat'))
    coco(tmp_path, dict(good, categories=[cat, dog]), classes=('cat', 'dog'))


def test_coco_category_ids_with_holes(tmp_path, log):
    data = coco_file(dict(a=(80, 60)), dict(a=[[1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9]]))
    data['categories'] = [dict(id=40, name='cat'), dict(id=7, name='dog'), dict(id=9, name='cow')]
    for annotation, category in zip(data['annotations'], (7, 40, 9), strict=True):
        annotation['category_id'] = category
    data['annotations'].append(dict(data['annotations'][0], id=99, category_id=8))
    dataset = coco(tmp_path, data, classes=('cat', 'dog'))
    labels = {i['bbox'][0]: i['bbox_label'] for i in dataset.get_data_info(0)['instances']}
    assert labels == {1: 1, 2: 0}
    assert 'unknown category 8' in log[0]
    assert log[1].endswith('other classes: cow (1)')


def test_coco_boxes_are_cut_or_dropped_and_named(tmp_path, log):
    boxes = [[-0.5, 1, 9, 9], [70, 50, 20, 20], [79.5, 1, 5, 5], ['1', 2, 3, 4], [1, 2, 3], None]
    data = coco_file(dict(a=(80, 60)), dict(a=boxes))
    dataset = coco(tmp_path, data)
    instances = dataset.get_data_info(0)['instances']
    assert [i['bbox'] for i in instances] == [[0, 1, 8.5, 10], [70, 50, 80, 60]]
    assert [why for *_, why in dataset.dropped_boxes] == [
        'smaller than a pixel', 'not four numbers', 'not four numbers', 'not four numbers',
    ]  # fmt: skip
    assert [box for _, box, _ in dataset.cut_boxes] == [(70, 50, 20, 20), (79.5, 1, 5, 5)]
    assert 'Cut 2 box(es)' in log[1]


def test_images_that_the_filter_leaves_out_are_named(tmp_path, log):
    data = coco_file(dict(a=(80, 60), tiny=(1, 1)))
    assert len(coco(tmp_path, data, filter_cfg=dict(min_size=32))) == 1
    assert 'Left out 1 image(s)' in log[-1]
    assert 'tiny.jpg: (1, 1) is too small' in log[-1]
    with pytest.raises(UserError, match='none of the 2 images'):
        coco(tmp_path, data, filter_cfg=dict(min_size=320))


SIZE = '<size><width>80</width><height>60</height></size>'


def voc_object(box=(11, 11, 31, 41), name='disc', more=''):
    corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    inner = ''.join(f'<{key}>{value}</{key}>' for key, value in corners)
    return f'<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>'


def voc(folder, files, names=None):
    """A VOC data set of XML texts by name; the images are there."""
    for part in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, xml in files.items():
        (folder / f'JPEGImages/{name}.jpg').write_bytes(jpeg(picture()))
        (folder / f'Annotations/{name}.xml').write_text(xml)
    (folder / 'ImageSets/Main/a.txt').write_text('\n'.join(names or files))
    return CheckedVOCDataset(
        data_root=str(folder),
        ann_file='ImageSets/Main/a.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('disc',)),
        pipeline=[LOAD, *LAZY[1:]],
    )


def test_voc_files_with_faults_are_read_and_named(tmp_path, log):
    bad = [(20, 20, 20, 30), (30, 5, 10, 9), ('nan', 5, 10, 9), (90, 5, 95, 9), ('x', 1, 2, 3)]
    files = dict(
        plain=voc_object(),  # no `difficult`
        odd=voc_object(more='<difficult>Unspecified</difficult>'),
        difficult=voc_object(more='<difficult>1</difficult>'),
        bad=''.join(map(voc_object, bad)) + '<object><name>disc</name></object>',
        unknown=voc_object(name='horse') + voc_object(),
        empty='',
        crowded=voc_object() * 1000,
        cut=voc_object((0, 0, 90, 50)),
    )
    xmls = {name: f'<annotation>{SIZE}{objects}</annotation>' for name, objects in files.items()}
    for name, size in (('no_size', ''), ('zero_size', SIZE.replace('80', '0'))):
        xmls[name] = f'<annotation>{size}{voc_object()}</annotation>'
    dataset = voc(tmp_path, xmls, [*xmls, 'plain'])
    infos = {dataset.get_data_info(i)['img_id']: dataset.get_data_info(i) for i in range(10)}
    assert len(dataset) == 10
    counts = {name: len(info['instances']) for name, info in infos.items()}
    assert counts == dict.fromkeys(xmls, 1) | dict(bad=0, empty=0, crowded=1000)
    sound = dict(bbox=[10, 10, 30, 40], bbox_label=0, ignore_flag=0)
    for name in ('plain', 'odd', 'unknown', 'no_size', 'zero_size'):
        assert infos[name]['instances'] == [sound]
        assert (infos[name]['width'], infos[name]['height']) == (80, 60)
    assert infos['difficult']['instances'][0]['ignore_flag'] == 1
    assert infos['cut']['instances'][0]['bbox'] == [0, 0, 80, 49]
    assert [why for *_, why in dataset.dropped_boxes] == [
        'zero area', 'inverted', 'not finite', 'outside the image', 'not four numbers',
        'not four numbers',
    ]  # fmt: skip
    text = '\n'.join(log)
    for part in ('names images twice; taken once: plain', 'other classes: horse (1)', 'Cut 1 box'):
        assert part in text
    for i in range(len(dataset)):  # nothing of it stops the pipeline
        boxes = dataset[i]['data_samples'].gt_instances.bboxes.tensor
        assert boxes.isfinite().all()


def test_voc_files_that_cannot_be_read_are_refused_together(tmp_path):
    xmls = dict(empty_file='', cut_off='<annotation><object>', sound='<annotation/>')
    with pytest.raises(UserError, match='3 annotation file') as info:
        voc(tmp_path, xmls, [*xmls, 'missing'])
    for part in ('empty_file.xml is empty', 'cut_off.xml is no XML', 'missing.xml does not exist'):
        assert part in str(info.value)
    with pytest.raises(UserError, match='names no image'):
        voc(tmp_path, {})
