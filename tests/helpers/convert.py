"""Datasets for conversion, written without the code under test."""

import json

import cv2
import numpy as np

CLASSES = ('zebra fish', 'größe', '细胞')  # not in alphabetical order
NUM = {'train': 7, 'val': 4}


def write_coco_splits(root, splits):
    """Write `{split: {file name: (width, height, objects)}}` without the code under test."""
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


def random_dataset(root, seed):
    """Write a dataset of float boxes, some of them ignored; some images have none."""
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
            splits[split][f'{split} image {i}.jpg'] = (width, height, objects)
    return write_coco_splits(root, splits), splits


def truth_rows(objects, *, with_ignored=True):
    rows = []
    for item in objects:
        x, y, w, h = item['bbox']
        label = (item['category_id'] - 2) // 3
        if with_ignored or not item['iscrowd']:
            rows.append([label, item['iscrowd'], x, y, x + w, y + h])
    return np.array(rows, float).reshape(-1, 6)


TWO_PARTS = [[2.5, 3, 20, 3, 20, 15], [25, 5, 38, 5, 38, 25, 25, 25]]


def outlined(tmp_path):
    one = dict(bbox=[2, 3, 18, 12], segmentation=[[2, 3, 20, 3, 20, 15]])
    two = dict(bbox=[2.5, 3, 35.5, 22], segmentation=TWO_PARTS)
    plain = dict(bbox=[5, 6, 7, 8])
    return write_coco_splits(
        tmp_path / 'in', {'train': {'a.png': (40, 30, [one, two, plain])}, 'val': {}}
    )
