"""One set of six images, laid out as labelling tools and tutorials do.

What the tools can be made to export is in tests/data/exporters (`helpers/exporters.py`).
"""

import json
import random

import numpy as np
from helpers.dataset import voc_xml
from PIL import Image

CLASSES = ('ball', 'cube')
SIZE_WH = (64, 48)
NAMES = {'train': ('a1', 'a2', 'a3', 'a4'), 'val': ('b1', 'b2')}
ALL = [name for names in NAMES.values() for name in names]


def truth(name):
    """Return the objects of an image, `(class, x1, y1, x2, y2)` in pixels from 0, exclusive."""
    rng = random.Random(name)
    objects = []
    for label in CLASSES:
        w, h = rng.randint(10, 24), rng.randint(10, 24)
        x, y = rng.randint(2, SIZE_WH[0] - w - 2), rng.randint(2, SIZE_WH[1] - h - 2)
        objects.append((label, x, y, x + w, y + h))
    return objects


def draw(name, path):
    pixels = np.full((*SIZE_WH[::-1], 3), 40, np.uint8)
    for label, x1, y1, x2, y2 in truth(name):
        pixels[y1:y2, x1:x2] = (220, 60, 40) if label == 'ball' else (60, 200, 90)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=60)


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, 'utf-8')


def yolo_rows(name):
    w, h = SIZE_WH
    return ''.join(
        f'{CLASSES.index(label)} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} '
        f'{(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}\n'
        for label, x1, y1, x2, y2 in truth(name)
    )


def voc_of(name):
    """Return VOC's XML: it counts from 1, and the last pixel is inside."""
    objects = [(label, (x1 + 1, y1 + 1, x2, y2)) for label, x1, y1, x2, y2 in truth(name)]
    return voc_xml(SIZE_WH, objects)


def labelme_json(name):
    shapes = [
        dict(label=label, points=[[x1, y1], [x2, y2]], shape_type='rectangle')
        for label, x1, y1, x2, y2 in truth(name)
    ]
    return json.dumps(dict(shapes=shapes, imageWidth=SIZE_WH[0], imageHeight=SIZE_WH[1]))


def coco(names, *, file_name='{}.jpg', first=1, extra=()):
    """Return a COCO document; `extra` are categories that come before the classes."""
    images = [
        dict(id=i, file_name=file_name.format(n), width=SIZE_WH[0], height=SIZE_WH[1])
        for i, n in enumerate(names, first)
    ]
    labels = [*extra, *CLASSES]
    boxes = [(i, *item) for i, name in enumerate(names, first) for item in truth(name)]
    annotations = [
        dict(
            id=number, image_id=i, category_id=labels.index(label) + first, iscrowd=0,
            bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
        )
        for number, (i, label, x1, y1, x2, y2) in enumerate(boxes, first)
    ]  # fmt: skip
    categories = [dict(id=i, name=n, supercategory='') for i, n in enumerate(labels, first)]
    return json.dumps(dict(images=images, annotations=annotations, categories=categories))


def mask(path, name, colours=((0, 0, 0), (250, 50, 83), (50, 250, 83)), *, indexed=True):
    labels = np.zeros(SIZE_WH[::-1], np.uint8)
    for label, x1, y1, x2, y2 in truth(name):
        labels[y1:y2, x1:x2] = CLASSES.index(label) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels if indexed else np.array(colours, np.uint8)[labels]).save(path, 'PNG')


def _each(image, label, text, splits=NAMES):
    """Write images and annotations; `{s}` is the split in a path, `{n}` the name."""

    def write(root):
        for split, names in splits.items():
            for name in names:
                draw(name, root / image.format(s=split, n=name))
                place = root / label.format(s=split, n=name)
                mask(place, name) if text is None else _write(place, text(name))
        if text is yolo_rows:
            _write(root / 'classes.txt', 'ball\ncube\n')

    return write


def cvat_yolo(root):
    """Write CVAT's YOLO 1.1 (cvat-ai/cvat, formats/yolo; names in upper case from cameras)."""
    _each('obj_train_data/{n}.JPG', 'obj_train_data/{n}.txt', yolo_rows)(root)
    (root / 'classes.txt').rename(root / 'obj.names')
    _write(root / 'train.txt', ''.join(f'data/obj_train_data/{n}.JPG\n' for n in ALL))
    keys = dict(classes=2, train='data/train.txt', names='data/obj.names', backup='backup/')
    _write(root / 'obj.data', ''.join(f'{key} = {value}\n' for key, value in keys.items()))


def cvat_coco(root):
    for name in ALL:
        draw(name, root / f'images/default/{name}.jpg')
    _write(root / 'annotations/instances_default.json', coco(ALL))


def _cvat_labelmap(root):
    lines = ('# label:color_rgb:parts:actions', 'background:0,0,0::', 'ball:250,50,83::')
    _write(root / 'labelmap.txt', '\n'.join([*lines, 'cube:50,250,83::']))


def cvat_voc(root):
    _each('JPEGImages/{n}.jpg', 'Annotations/{n}.xml', voc_of)(root)
    _write(root / 'ImageSets/Main/default.txt', '\n'.join(ALL))
    _cvat_labelmap(root)


def cvat_masks(root):
    """Write CVAT's Segmentation mask 1.1; the masks hold colours."""
    for name in ALL:
        draw(name, root / f'JPEGImages/{name}.jpg')
        mask(root / f'SegmentationClass/{name}.png', name, indexed=False)
        mask(root / f'SegmentationObject/{name}.png', name, indexed=False)
    _write(root / 'ImageSets/Segmentation/default.txt', '\n'.join(ALL))
    _cvat_labelmap(root)


def vott(root):
    """Write VoTT 2's Pascal VOC (src/providers/export/pascalVOC.ts): lists of each class only."""
    _each('JPEGImages/{n}.jpg', 'Annotations/{n}.xml', voc_of)(root)
    for label in CLASSES:
        for split, names in NAMES.items():
            _write(
                root / f'ImageSets/Main/{label}_{split}.txt',
                '\n'.join(f'{name}.jpg 1' for name in names),
            )
    _write(root / 'pascal_label_map.pbtxt', "item {\n id: 1\n name: 'ball'\n}\n")


def label_studio_windows(root):
    for name in ALL:
        draw(name, root / f'images/{name}.jpg')
    _write(root / 'result.json', coco(ALL, file_name='images\\{}.jpg', first=0))


def roboflow_coco(root):
    """Write Roboflow's COCO: category 0 is the name of the project, of which nothing is."""
    for split, names in (('train', NAMES['train']), ('valid', NAMES['val'])):
        for name in names:
            draw(name, root / split / f'{name}.jpg')
        text = coco(names, first=0, extra=['toys'])
        _write(root / split / '_annotations.coco.json', text)


def roboflow_darknet(root):
    splits = dict(train=NAMES['train'], valid=NAMES['val'])
    _each('{s}/{n}.jpg', '{s}/{n}.txt', yolo_rows, splits)(root)
    (root / 'classes.txt').unlink()
    for split in splits:
        _write(root / split / '_darknet.labels', 'ball\ncube\n')


def supervisely(root, folders=('train', 'val')):
    """Write the app Export to COCO of Supervisely (supervisely-ecosystem/export-to-coco)."""
    for folder, names in zip(folders, NAMES.values(), strict=True):
        for name in names:
            draw(name, root / folder / f'images/{name}.jpg')
        _write(root / folder / 'annotations/instances.json', coco(names))


def fiftyone(root):
    for name in ALL:
        draw(name, root / f'data/{name}.jpg')
    _write(root / 'labels.json', coco(ALL))


def in_a_folder(root):
    """Write a set as it lies after an archive with one folder in it was unpacked."""
    _each('toys/JPEGImages/{n}.jpg', 'toys/Annotations/{n}.xml', voc_of)(root)
    for split, names in NAMES.items():
        _write(root / f'toys/ImageSets/Main/{split}.txt', '\n'.join(names))


# What is written, the format it is read as, and whether the folders or lists tell the splits.
BOXES = {
    'labelimg yolo': (_each('{n}.jpg', '{n}.txt', yolo_rows), 'yolo', False),
    'labelimg voc': (_each('{n}.jpg', '{n}.xml', voc_of), 'voc', False),
    'labelimg voc, saved elsewhere': (_each('images/{n}.jpg', 'xml/{n}.XML', voc_of), 'voc', False),
    'raccoon': (_each('images/{n}.jpg', 'annotations/{n}.xml', voc_of), 'voc', False),
    'kangaroo': (_each('images/{n}.jpg', 'annots/{n}.xml', voc_of), 'voc', False),
    'tensorflow': (_each('images/{s}/{n}.jpg', 'images/{s}/{n}.xml', voc_of), 'voc', True),
    'one annotations': (_each('images/{s}/{n}.jpg', 'annotations/{n}.xml', voc_of), 'voc', True),
    'yolov6': (_each('images/{s}2017/{n}.jpg', 'labels/{s}2017/{n}.txt', yolo_rows), 'yolo', True),
    'yolo, side by side': (_each('{s}/{n}.jpg', 'labels/{s}/{n}.txt', yolo_rows), 'yolo', True),
    'labelme in images': (
        _each('images/{n}.jpg', 'images/{n}.json', labelme_json), 'labelme', False
    ),
    'labelme elsewhere': (
        _each('images/{n}.jpg', 'annotations/{n}.json', labelme_json), 'labelme', False
    ),
    'labelme in splits': (_each('{s}/{n}.jpg', '{s}/{n}.json', labelme_json), 'labelme', True),
    'cvat yolo': (cvat_yolo, 'yolo', False),
    'cvat coco': (cvat_coco, 'coco', False),
    'cvat voc': (cvat_voc, 'voc', False),
    'vott': (vott, 'voc', True),
    'label studio on windows': (label_studio_windows, 'coco', False),
    'roboflow coco': (roboflow_coco, 'coco', True),
    'roboflow darknet': (roboflow_darknet, 'yolo', True),
    'supervisely': (supervisely, 'coco', True),
    'supervisely, two datasets': (lambda root: supervisely(root, ('ds1', 'ds2')), 'coco', False),
    'fiftyone': (fiftyone, 'coco', False),
    'in a folder': (in_a_folder, 'voc', True),
}  # fmt: skip
MASKS = {
    'mmseg': (_each('img_dir/{s}/{n}.jpg', 'ann_dir/{s}/{n}.png', None), True),
    'upper case': (_each('images/{n}.jpg', 'masks/{n}.PNG', None), False),
    'capital letters': (_each('Images/{n}.jpg', 'Masks/{n}.png', None), False),
    'masks in years': (_each('images/{s}2017/{n}.jpg', 'masks/{s}2017/{n}.png', None), True),
    'cvat masks': (cvat_masks, False),
}


def named(path):
    """Return the name of an image in `truth`; Label Studio puts a hash and `__` before it."""
    return path.stem.rpartition('__')[2]


def compare(found, *, shift=(0, 0, 0, 0), atol=0.01):
    """Compare the boxes and classes of a found dataset with the truth; return what differs."""
    wrong = []
    for item in found.images:
        record = item.record
        boxes = zip(record.labels, record.boxes, strict=True)
        ours = sorted((found.classes[label], *box) for label, box in boxes)
        true = sorted(
            (label, *(v + s for v, s in zip(box, shift, strict=True)))
            for label, *box in truth(named(item.path))
        )
        is_same = [o[0] for o in ours] == [t[0] for t in true] and np.allclose(
            [o[1:] for o in ours], [t[1:] for t in true], rtol=0, atol=atol
        )
        if not is_same or record.problems or record.dropped:
            wrong.append((item.path.name, ours, true, record.problems, record.dropped))
    return wrong


def splits_of(found):
    return {split: sorted(named(i.path) for i in items) for split, items in found.splits.items()}
