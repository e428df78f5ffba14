"""The generated sample dataset, read by hand, by pycocotools and by the toolboxes."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from helpers.files import contents
from helpers.raster import rasterise
from mmdet.datasets import CocoDataset, VOCDataset
from mmseg.datasets import BaseSegDataset, PascalVOCDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image
from pycocotools.coco import COCO

from mbv2_backbone.workbench.data.sample.sample import generate_sample
from mbv2_backbone.workbench.data.sample.scenes import CLASSES, PALETTE

NUM = {'train': 30, 'val': 10}
FOLDERS = ('JPEGImages', 'annotations', 'Annotations', 'SegmentationClass', 'ImageSets')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp('sample') / 'dataset'
    return generate_sample(out, num_train=NUM['train'], num_val=NUM['val'], size=96, seed=3)


@pytest.fixture(scope='module', params=['train', 'val'])
def split(request):
    return request.param


def read_coco(root, split):
    return json.loads((root / 'annotations' / f'{split}.json').read_text())


def read_mask(root, file_name):
    return Image.open(root / 'SegmentationClass' / Path(file_name).with_suffix('.png').name)


def slow_box_xywh(mask):
    xs = [x for x in range(mask.shape[1]) for y in range(mask.shape[0]) if mask[y, x]]
    ys = [y for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    return [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]


def test_same_seed_same_bytes(tmp_path):
    first, again = (
        generate_sample(tmp_path / name, num_train=4, num_val=3, size=64) for name in 'ab'
    )
    other = generate_sample(tmp_path / 'c', num_train=4, num_val=3, size=64, seed=1)
    assert contents(first.root) == contents(again.root)
    pixels = [contents(s.root / 'JPEGImages') for s in (first, other)]
    assert pixels[0].keys() == pixels[1].keys()
    assert all(pixels[0][name] != pixels[1][name] for name in pixels[0])


def test_val_does_not_depend_on_num_train(tmp_path):
    few, many = (
        generate_sample(tmp_path / str(n), num_train=n, num_val=3, size=64).root for n in (1, 5)
    )
    assert contents(few, 'val*') == contents(many, 'val*')
    assert len(contents(few, 'val*')) == 3 * 3 + 3  # jpg, png and xml of each; one json, two lists
    few, many = (contents(root / 'sample_crops/val') for root in (few, many))
    assert few == many


def test_images_differ(made):
    assert len(set(contents(made.root / 'JPEGImages').values())) == sum(NUM.values())


def test_counts(made, split):
    coco = read_coco(made.root, split)
    assert made.images[split] == len(coco['images']) == NUM[split]
    assert [item['name'] for item in coco['categories']] == list(CLASSES)
    by_class = {
        item['name']: sum(a['category_id'] == item['id'] for a in coco['annotations'])
        for item in coco['categories']
    }
    assert made.boxes[split] == by_class
    filled = {a['image_id'] for a in coco['annotations']}
    assert made.empty[split] == sum(image['id'] not in filled for image in coco['images'])
    for image in coco['images']:
        assert (image['height'], image['width']) == (96, 96)
        assert cv2.imread(str(made.root / 'JPEGImages' / image['file_name'])).shape == (96, 96, 3)
    for folder in FOLDERS:
        assert (made.root / folder).is_dir()


def test_boxes_are_tight_and_masks_agree(made, split):
    coco = read_coco(made.root, split)
    assert len({a['id'] for a in coco['annotations']}) == len(coco['annotations'])
    for image in coco['images']:
        from_polygons = np.zeros((96, 96), np.uint8)
        for item in coco['annotations']:
            if item['image_id'] != image['id']:
                continue
            mask = rasterise(item['segmentation'], 96, 96)
            assert item['bbox'] == slow_box_xywh(mask)
            assert item['area'] == mask.sum()
            assert item['iscrowd'] == 0
            assert not from_polygons[mask].any(), 'visible masks overlap'
            from_polygons[mask] = item['category_id']
        png = read_mask(made.root, image['file_name'])
        assert png.mode == 'P'
        np.testing.assert_array_equal(np.asarray(png), from_polygons)
        colours = np.asarray(png.convert('RGB'))
        for label, colour in enumerate([(0, 0, 0), *PALETTE]):
            assert (colours[from_polygons == label] == colour).all()


def test_each_box_has_its_crop_among_those_of_its_class(made, split):
    coco = read_coco(made.root, split)
    files = {image['id']: image['file_name'] for image in coco['images']}
    crops = made.root / 'sample_crops' / split
    assert {path.name: len(list(path.iterdir())) for path in crops.iterdir()} == {
        name: count for name, count in made.boxes[split].items() if count
    }
    order = {}
    for item in coco['annotations']:
        i = order[item['image_id']] = order.get(item['image_id'], -1) + 1
        name = files[item['image_id']]
        path = crops / CLASSES[item['category_id'] - 1] / f'{Path(name).stem.split("_")[1]}_{i}.jpg'
        crop = cv2.imread(str(path)).astype(int)
        x, y, w, h = item['bbox']
        side = 1.3 * max(w, h)
        left, top = max(0, round(x + w / 2 - side / 2)), max(0, round(y + h / 2 - side / 2))
        assert crop.shape[0] >= h
        assert crop.shape[1] >= w
        image = cv2.imread(str(made.root / 'JPEGImages' / name)).astype(int)
        part = image[top : top + crop.shape[0], left : left + crop.shape[1]]
        assert part.shape == crop.shape
        assert abs(part - crop).mean() < 8  # both were compressed


def test_voc_and_coco_agree(made, split):
    coco = read_coco(made.root, split)
    for image in coco['images']:
        items = [a for a in coco['annotations'] if a['image_id'] == image['id']]
        name = Path(image['file_name']).stem
        root = ElementTree.parse(made.root / 'Annotations' / f'{name}.xml').getroot()
        assert root.findtext('filename') == image['file_name']
        assert [root.findtext(f'size/{k}') for k in ('width', 'height', 'depth')] == [
            '96',
            '96',
            '3',
        ]
        objects = root.findall('object')
        assert [o.findtext('name') for o in objects] == [
            CLASSES[a['category_id'] - 1] for a in items
        ]
        for o, item in zip(objects, items, strict=True):
            x1, y1, x2, y2 = (
                int(o.findtext(f'bndbox/{key}')) for key in ('xmin', 'ymin', 'xmax', 'ymax')
            )
            assert [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1] == item['bbox']
            assert 1 <= x1 <= x2 <= 96
            assert 1 <= y1 <= y2 <= 96
            assert o.findtext('difficult') == '0'


@pytest.mark.parametrize('task', ['Main', 'Segmentation'])
def test_voc_lists(made, task):
    read = {
        split: (made.root / 'ImageSets' / task / f'{split}.txt').read_text().split()
        for split in ('train', 'val', 'trainval')
    }
    for split in NUM:
        names = [Path(i['file_name']).stem for i in read_coco(made.root, split)['images']]
        assert read[split] == names
    assert read['trainval'] == read['train'] + read['val']


def test_pycocotools_reads_it(made, split):
    coco = COCO(str(made.root / 'annotations' / f'{split}.json'))
    assert len(coco.getImgIds()) == NUM[split]
    for item in coco.loadAnns(coco.getAnnIds()):
        assert coco.annToMask(item).sum() == item['area']


def test_mmdet_coco_and_voc_read_it(made, split):
    shared = {
        'data_root': str(made.root),
        'metainfo': {'classes': CLASSES, 'palette': PALETTE},
        'test_mode': True,
    }
    coco = CocoDataset(
        ann_file=f'annotations/{split}.json', data_prefix={'img': 'JPEGImages/'}, **shared
    )
    voc = VOCDataset(
        ann_file=f'ImageSets/Main/{split}.txt', data_prefix={'sub_data_root': ''}, **shared
    )
    assert len(coco) == len(voc) == NUM[split]
    for a, b in zip(coco, voc, strict=True):
        assert Path(a['img_path']).samefile(b['img_path'])
        assert len(a['instances']) == len(b['instances'])
        for in_coco, in_voc in zip(a['instances'], b['instances'], strict=True):
            assert in_coco['bbox_label'] == in_voc['bbox_label']
            x1, y1, x2, y2 = in_voc['bbox']  # VOC's last pixel is inside the box
            assert in_coco['bbox'] == [x1, y1, x2 + 1, y2 + 1]
            assert in_coco['ignore_flag'] == in_voc['ignore_flag'] == 0


def test_mmseg_reads_it(made, split):
    shared = {
        'data_root': str(made.root),
        'ann_file': f'ImageSets/Segmentation/{split}.txt',
        'data_prefix': {'img_path': 'JPEGImages', 'seg_map_path': 'SegmentationClass'},
        'pipeline': [LoadAnnotations()],
    }
    metainfo = {'classes': ('background', *CLASSES), 'palette': [(0, 0, 0), *PALETTE]}
    base = BaseSegDataset(img_suffix='.jpg', metainfo=metainfo, **shared)
    # PascalVOCDataset takes no other classes than VOC's own.
    for dataset in (base, PascalVOCDataset(**shared)):
        assert len(dataset) == NUM[split]
        for item in dataset:
            expected = read_mask(made.root, Path(item['img_path']).name)
            np.testing.assert_array_equal(item['gt_seg_map'], expected)
            assert item['gt_seg_map'].max() <= len(CLASSES)
