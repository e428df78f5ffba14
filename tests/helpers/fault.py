"""Image files with the faults of real datasets, and COCO datasets of them."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.registry import init_default_scope
from PIL import Image

from mbv2_backbone.det import CheckedCocoDataset

ORIENTATION = 0x0112
LOAD = dict(type='LoadImageFromFile')
LAZY = [
    dict(type='LoadImageLazily'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomExpandCropResize', scale=(64, 64)),
    dict(type='PackDetInputs'),
]


def smooth_pixels(width=80, height=60, seed=0):
    """Return smooth colours `(H, W, 3)` uint8 RGB that JPEG keeps."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(image, orientation=1):
    """Return the JPEG data of an array or PIL image, with an EXIF orientation."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=95, exif=exif)
    return buffer.getvalue()


def png16(image):
    """Return a PNG with 16 bits per channel."""
    return cv2.imencode('.png', image.astype(np.uint16) * 257)[1].tobytes()


def faulty_images(folder):
    """Write one image of each kind into a folder, all as `.jpg`, which VOC needs.

    Returns:
        Width and height as an annotation tool gives them, by image name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = jpeg(smooth_pixels())
    files = dict(
        sound=whole,
        truncated=whole[: len(whole) // 2],
        zero=b'',
        text=b'<html>404</html>',
        gray=jpeg(Image.fromarray(smooth_pixels()).convert('L')),
        cmyk=jpeg(Image.fromarray(smooth_pixels()).convert('CMYK')),
        png16=png16(smooth_pixels()),
        turned=jpeg(smooth_pixels(), 6),  # annotated as seen
        raw=jpeg(smooth_pixels(), 6),  # annotated as stored
        tiny=jpeg(smooth_pixels(1, 1)),
    )
    for name, data in files.items():
        (folder / f'{name}.jpg').write_bytes(data)
    sizes = dict.fromkeys([*files, 'missing'], (80, 60))
    return sizes | dict(turned=(60, 80), tiny=(1, 1))


def coco_file(sizes, boxes=None, first_id=0):
    """Return a COCO file of images of given sizes; one box in the middle where none is given."""
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
    """Return a dataset of the images in a folder, from the content or the text of a COCO file."""
    init_default_scope('mmdet')
    (folder / 'a.json').write_text(data if isinstance(data, str) else json.dumps(data))
    return CheckedCocoDataset(
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        pipeline=list(pipeline),
        **kwargs,
    )
