"""Fuzz the annotation readers: what they accept is valid, the rest is reported.

`HYPOTHESIS_PROFILE=long` runs twenty times as many examples.
"""

import io
import json
import logging
import os
from math import isfinite
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

from mbv2_backbone.annotations.masks import MaskCoding, decode_mask, read_mask
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset
from mbv2_backbone.workbench.checks.mask_values import MaskRules, mask_problem, read_facts

COMMON = dict(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALE = 20 if os.environ.get('HYPOTHESIS_PROFILE') == 'long' else 1
CLASSES = ('cat', 'dog')
WIDTH, HEIGHT = 80, 60


def cases(number):
    return settings(max_examples=number * SCALE, **COMMON)


@pytest.fixture(autouse=True)
def _quiet():
    init_default_scope('mmdet')
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def check_instances(dataset):
    """Check that each accepted box is finite, in its image, and has an area and a known class."""
    dataset.num_boxes = 0
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        dataset.num_boxes += len(info['instances'])
        for instance in info['instances']:
            x1, y1, x2, y2 = instance['bbox']
            assert all(isfinite(v) for v in (x1, y1, x2, y2))
            assert 0 <= x1 < x2 <= info['width']
            assert 0 <= y1 < y2 <= info['height']
            assert instance['bbox_label'] in range(len(CLASSES))
            assert instance['ignore_flag'] in (0, 1)


# Hypothesis draws seeds and text; files with many parts are made from a seed, which is ten times
# faster than drawing each part.
seeds = st.integers(0, 2**32 - 1).map(Random)
ODD = [
    float('nan'),
    float('inf'),
    -float('inf'),
    1e308,
    10**400,
    -1,
    0,
    True,
    None,
    '5',
    [],
    {},
    '',
]


def rarely(rng):
    return rng.random() < 0.007


def or_odd(rng, value):
    return rng.choice(ODD) if rarely(rng) else value


def number(rng):
    return or_odd(rng, rng.choice([rng.randint(-20, 120), rng.uniform(-20, 120)]))


def entry(rng, **fields):
    made = {key: or_odd(rng, value) for key, value in fields.items()}
    if rarely(rng):
        made.pop(rng.choice(list(made)))
    return made


def coco_file(rng):
    ids = rng.choice([(0, 1), (3, 7, 9), (90, 5), (1, 2, 3, 4)])
    names = [*CLASSES, 'cow', 'pig']
    return dict(
        images=[
            entry(rng, id=i, file_name=f'{i}.jpg', width=rng.choice([1, 20, WIDTH]), height=HEIGHT)
            for i in range(rng.randint(1, 3))
        ],
        categories=[entry(rng, id=i, name=name) for i, name in zip(ids, names, strict=False)],
        annotations=[
            entry(
                rng,
                id=i,
                image_id=rng.randint(0, 3),
                category_id=rng.choice(ids),
                bbox=[number(rng) for _ in range(5 if rarely(rng) else 4)],
                area=number(rng),
                iscrowd=int(rng.random() < 0.2),
            )
            for i in range(rng.randint(0, 5))
        ],
    )


def read(kind, folder, ann_file, prefix):
    """Return a dataset with checked boxes, or `None` and what is wrong with the file."""
    try:
        dataset = kind(
            data_root=str(folder),
            ann_file=ann_file,
            data_prefix=prefix,
            metainfo=dict(classes=CLASSES),
            pipeline=[],
            serialize_data=False,  # it collects garbage each time, which is slow
        )
    except UserError as error:
        return None, str(error)
    check_instances(dataset)
    return dataset, ''


def read_coco(folder, text):
    (folder / 'a.json').write_text(text)
    dataset, problem = read(CheckedCocoDataset, folder, 'a.json', dict(img=''))
    assert dataset or 'a.json' in problem
    return dataset


def test_coco(tmp_path, capsys):
    accepted = []

    @cases(900)
    @given(seeds)
    def run(rng):
        dataset = read_coco(tmp_path, json.dumps(coco_file(rng)))
        accepted.append(dataset is not None and dataset.num_boxes)

    run()
    assert sum(map(bool, accepted)) > 50  # the fuzz reaches the boxes


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(['images', 'id', 'categories', 'a']), inner, max_size=3)
    ),
    max_leaves=6,
)


def test_coco_text(tmp_path, capsys):
    @cases(150)
    @given(st.text(max_size=40) | junk.map(json.dumps))
    def run(text):
        assert read_coco(tmp_path, text) is None

    run()


ODD_TEXT = ['', ' ', 'x', '1,5', '0x10', '\uff11', '1e9999', 'nan', '-inf', '1e308', '<a/>', '&lt;']


def voc_file(rng):
    def tag(name, inner):
        return rng.choice(['', f'<{name}/>']) if rarely(rng) else f'<{name}>{inner}</{name}>'

    def value(low, high):
        return rng.choice(ODD_TEXT) if rng.random() < 0.05 else rng.randint(low, high)

    def thing():
        box = ''.join(tag(key, value(-5, 90)) for key in ('xmin', 'ymin', 'xmax', 'ymax'))
        name = rng.choice([*CLASSES, 'cow', '', ' cat '])
        return tag(
            'object',
            tag('name', name) + tag('difficult', int(rng.random() < 0.2)) + tag('bndbox', box),
        )

    sides = ''.join(tag(key, value(0, 99)) for key in ('width', 'height'))
    things = ''.join(thing() for _ in range(rng.randint(0, 4)))
    text = tag('annotation', tag('size', sides) + things)
    return text[: rng.randint(0, len(text))] if rarely(rng) else text


def read_voc_dataset(folder, data):
    (folder / 'Annotations/a.xml').write_bytes(data)
    dataset, problem = read(CheckedVOCDataset, folder, 'list.txt', dict(sub_data_root=''))
    assert dataset or 'a.xml' in problem or 'list.txt' in problem
    return dataset.num_boxes if dataset else 0


@pytest.fixture
def voc_folder(tmp_path):
    for name in ('Annotations', 'JPEGImages'):
        (tmp_path / name).mkdir()
    Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / 'JPEGImages/a.jpg')
    (tmp_path / 'list.txt').write_text('a\n')
    return tmp_path


def test_voc(voc_folder):
    accepted = []
    cases(700)(
        given(seeds)(
            lambda rng: accepted.append(read_voc_dataset(voc_folder, voc_file(rng).encode()))
        )
    )()
    assert sum(map(bool, accepted)) > 50


def test_voc_bytes(voc_folder):
    @cases(150)
    @given(st.binary(max_size=60))
    def run(data):
        assert read_voc_dataset(voc_folder, data) == 0

    run()


def mask_file(rng):
    """Return a mask file in any mode; some are damaged or truncated."""
    mode = rng.choice(['L', 'P', '1', 'RGB', 'RGBA', 'I', 'I;16', 'LA', 'CMYK', 'F'])
    values = np.array(rng.choices(range(rng.choice([2, 5, 7, 256])), k=48), np.uint8).reshape(6, 8)
    image = Image.fromarray(values)
    if mode in ('I', 'I;16'):
        image = Image.fromarray(values.astype(np.uint16 if mode == 'I;16' else np.int32) * 99)
    elif mode == 'P':
        image.putpalette(bytes(range(256)) * 3)
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, 'TIFF' if mode in ('I', 'CMYK', 'F') else 'PNG')
    data = bytearray(buffer.getvalue())
    for _ in range(rng.choice([0, 0, 1, 3])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)


def test_masks(tmp_path):
    image = str(tmp_path / 'image.png')
    Image.new('RGB', (8, 6)).save(image)
    path = str(tmp_path / 'mask.png')
    codings = [MaskCoding(), MaskCoding(reduce_zero_label=True), MaskCoding(ignore=[7])]
    outcomes = set()

    @cases(300)
    @given(seeds, st.sampled_from(codings))
    def run(rng, coding):
        with open(path, 'wb') as file:
            file.write(mask_file(rng))
        problem = mask_problem(read_facts(path, image), MaskRules(5, coding))
        outcomes.add(problem is None)
        if problem is None:
            labels = decode_mask(read_mask(path, path), coding, path)
            assert labels.shape == (6, 8)
            assert set(np.unique(labels)) <= {0, 1, 2, 3, 4, 255}
        else:
            assert problem.what
            assert problem.remedy

    run()
    assert outcomes == {True, False}
