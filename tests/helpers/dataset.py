"""The same images and boxes in every dataset format."""

import json
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

CLASSES = ('apple', 'café au lait')
WIDTH, HEIGHT = 80, 60
NAMES = dict(train=['a', 'b', 'c'], val=['d', 'e'])


def truth(seed=0):
    """Return integer boxes xyxy and labels of each image; one image has none."""
    rng = np.random.default_rng(seed)
    images = {}
    for index, name in enumerate([*NAMES['train'], *NAMES['val']]):
        count = 0 if name == 'c' else int(rng.integers(1, 4))
        corner = rng.integers(0, (WIDTH - 20, HEIGHT - 20), (count, 2))
        size = rng.integers(4, 20, (count, 2))
        labels = [(index + i) % 2 for i in range(count)]
        images[name] = np.concatenate([corner, corner + size], 1).astype(float), labels
    return images


def save_image(path, seed=0, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_coco(root, splits=NAMES, classes=CLASSES):
    boxes = truth()
    (root / 'annotations').mkdir(parents=True)
    for split, names in splits.items():
        images, annotations = [], []
        for index, name in enumerate(names, 1):
            save_image(root / 'images' / f'{name}.jpg', ord(name))
            images.append(dict(id=index, file_name=f'{name}.jpg', width=WIDTH, height=HEIGHT))
            for (x1, y1, x2, y2), label in zip(*boxes[name], strict=True):
                box = [x1, y1, x2 - x1, y2 - y1]
                annotations.append(
                    dict(id=len(annotations), image_id=index, category_id=label + 7, bbox=box)
                )
        categories = [dict(id=7 + i, name=name) for i, name in enumerate(classes)]
        data = dict(images=images, annotations=annotations, categories=categories)
        (root / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(data))


def voc_xml(size_wh, objects):
    """Return a VOC annotation of objects `(class name, xyxy)`."""
    text = '<size><width>{}</width><height>{}</height></size>'.format(*size_wh)
    for name, box in objects:
        keys = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
        corners = ''.join(f'<{key}>{value}</{key}>' for key, value in keys)
        text += f'<object><name>{escape(name)}</name><bndbox>{corners}</bndbox></object>'
    return f'<annotation>{text}</annotation>'


def xml_of(boxes, labels, size=(WIDTH, HEIGHT)):
    # mmdet takes 1 off all four numbers.
    names = [CLASSES[label] for label in labels]
    corners = [[int(value) + 1 for value in box] for box in boxes]
    return voc_xml(size, zip(names, corners, strict=True))


def write_voc(root, splits=NAMES):
    boxes = truth()
    for folder in ('Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for split, names in splits.items():
        (root / 'ImageSets/Main' / f'{split}.txt').write_text('\n'.join(names) + '\n')
        for name in names:
            save_image(root / 'JPEGImages' / f'{name}.jpg', ord(name))
            (root / 'Annotations' / f'{name}.xml').write_text(xml_of(*boxes[name]), 'utf-8')


def write_flat_voc(root):
    for split, names in dict(train=NAMES['train'], valid=NAMES['val']).items():
        for name in names:
            save_image(root / split / f'{name}.jpg', ord(name))
            (root / split / f'{name}.xml').write_text(xml_of(*truth()[name]), 'utf-8')


def yolo_lines(boxes, labels):
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        numbers = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH
        yield f'{label} ' + ' '.join(map(repr, map(float, (*numbers, (y2 - y1) / HEIGHT))))


def write_yolo(root):
    for split, names in NAMES.items():
        (root / 'labels' / split).mkdir(parents=True)
        for name in names:
            save_image(root / 'images' / split / f'{name}.jpg', ord(name))
            if len(truth()[name][0]):
                text = '\n'.join(yolo_lines(*truth()[name]))
                (root / 'labels' / split / f'{name}.txt').write_text(text)
    names = '\n'.join(f'  {i}: {name}' for i, name in enumerate(CLASSES))
    text = f'path: .\ntrain: images/train\nval: images/val\nnames:\n{names}\n'
    (root / 'data.yaml').write_text(text, 'utf-8')


def write_roboflow_yolo(root):
    """Write a dataset whose YAML file has paths that do not lead to its own folders."""
    write_yolo(root / 'tmp')
    for split, name in dict(train='train', val='valid').items():
        (root / name).mkdir()
        for kind in ('images', 'labels'):
            (root / 'tmp' / kind / split).rename(root / name / kind)
    text = f'train: ../train/images\nval: ../valid/images\nnames: {json.dumps(CLASSES)}\n'
    (root / 'data.yaml').write_text(text)


def write_labelme(root):
    for split, names in NAMES.items():
        for name in names:
            save_image(root / split / f'{name}.jpg', ord(name))
            shapes = [
                dict(label=CLASSES[label], points=[[x1, y2], [x2, y1]], shape_type='rectangle')
                for (x1, y1, x2, y2), label in zip(*truth()[name], strict=True)
            ]
            data = dict(shapes=shapes, imageWidth=WIDTH, imageHeight=HEIGHT)
            (root / split / f'{name}.json').write_text(json.dumps(data), 'utf-8')
