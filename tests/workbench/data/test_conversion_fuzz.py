"""Odd but valid files of each exporter: what is read stays itself through every conversion.

Boxes are equal to 0.01 pixel, and so are classes and splits; what cannot be kept is named.
`HYPOTHESIS_PROFILE=long` runs twenty times as many examples.
"""

import json
import os
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.annotated_images import Findings, collect
from mbv2_backbone.workbench.data.conversion import WRITERS, convert
from mbv2_backbone.workbench.data.find import find_dataset

SCALE = 20 if os.environ.get('HYPOTHESIS_PROFILE') == 'long' else 1
COMMON = dict(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SPLITS = ('train', 'val')
LETTERS = st.sampled_from('abZ019é细_-.() #:,\'"')
WORDS = st.text(LETTERS, min_size=1, max_size=8).map(str.strip)
STEMS = WORDS.filter(lambda word: word.strip('.') == word and word and ':' not in word)
NAMES = st.sampled_from(['yes', 'null', '1e3', '0', 'size 1 2 3', 'a:1,2,3', '#x', 'background'])


@st.composite
def boxes(draw, size_wh, *, is_whole):
    """Draw corners of at least two pixels inside the image: mmdet drops one in VOC."""
    unit = 1 if is_whole else draw(st.sampled_from([1, 4, 100]))
    corners = []
    for side in size_wh:
        first = draw(st.integers(0, (side - 2) * unit))
        last = draw(st.integers(first + 2 * unit, side * unit))
        corners.append((first / unit, last / unit))
    (x1, x2), (y1, y2) = corners
    return x1, y1, x2, y2


@st.composite
def datasets(draw, *, is_whole=False, with_ignored=True, with_outlines=True):
    """Draw `(classes, {split: {stem: (suffix, size_wh, objects)}})`."""
    classes = draw(st.lists(WORDS.filter(bool) | NAMES, min_size=1, max_size=4, unique=True))
    splits = {}
    for split in SPLITS:
        stems = draw(st.lists(STEMS, min_size=1, max_size=3, unique_by=str.lower))
        splits[split] = {}
        for stem in stems:
            size_wh = draw(st.tuples(st.integers(8, 40), st.integers(8, 40)))
            objects = []
            for _ in range(draw(st.integers(0, 3))):
                box = draw(boxes(size_wh, is_whole=is_whole))
                objects.append(
                    dict(
                        label=draw(st.integers(0, len(classes) - 1)),
                        box=box,
                        is_ignored=with_ignored and draw(st.booleans()),
                        outline=with_outlines and draw(st.booleans()),
                    )
                )
            suffix = draw(st.sampled_from(['.jpg', '.JPG', '.png', '.jpeg']))
            splits[split][stem] = suffix, size_wh, objects
    labels = [o['label'] for images in splits.values() for *_, os_ in images.values() for o in os_]
    if not labels:  # what no set has is no format
        stem, (suffix, size_wh, _) = next(iter(splits['train'].items()))
        item = dict(label=0, box=(0, 0, 8, 8), is_ignored=False, outline=False)
        splits['train'][stem] = suffix, size_wh, [item]
    return classes, splits


def rhombus(box):
    """Return an outline of five points whose box is the given one."""
    x1, y1, x2, y2 = box
    return [x1, (y1 + y2) / 2, (x1 + x2) / 2, y1, x2, (y1 + y2) / 2, (x1 + x2) / 2, y2, x1, y2]


def image(path, size_wh):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size_wh, (len(path.stem) * 9 % 256, 80, 90)).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, 'utf-8')


def each(splits):
    for split, images in splits.items():
        for stem, (suffix, size_wh, objects) in images.items():
            yield split, stem, suffix, size_wh, objects


def write_coco(root, classes, splits, odd):
    first = odd.integer(0, 5)
    slash = '\\' if odd.yes() else '/'
    folder = 'images/{}' if odd.yes() else '{}'
    files = {split: dict(images=[], annotations=[], categories=[]) for split in splits}
    for split, stem, suffix, (width, height), objects in each(splits):
        document = files[split]
        name = f'deep{slash}{stem}{suffix}'
        image(root / folder.format(split) / 'deep' / f'{stem}{suffix}', (width, height))
        number = first + len(document['images'])
        document['images'].append(dict(id=number, file_name=name, width=width, height=height))
        for item in objects:
            x1, y1, x2, y2 = item['box']
            entry = dict(
                id=first + len(document['annotations']),
                image_id=number,
                category_id=first + item['label'],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                iscrowd=int(item['is_ignored']),
            )
            if item['outline']:
                entry['segmentation'] = [rhombus(item['box'])]
            document['annotations'].append(entry)
    for split, document in files.items():
        document['categories'] = [dict(id=first + i, name=n) for i, n in enumerate(classes)]
        text(root / f'annotations/instances_{split}.json', json.dumps(document))


def write_voc(root, classes, splits, odd):
    """Write corners that count from 0, with decimals, or from 1, whole and the last inside."""
    from_zero, is_flat = odd.yes(), odd.yes()
    for split, stem, suffix, (width, height), objects in each(splits):
        place = root / split if is_flat else root / 'images' / split
        image(place / f'{stem}{suffix}', (width, height))
        body = f'<size><width>{width}</width><height>{height}</height></size>'
        for item in objects:
            x1, y1, x2, y2 = item['box']
            corners = map(float, (x1, y1, x2, y2)) if from_zero else (x1 + 1, y1 + 1, x2, y2)
            values = ''.join(
                f'<{key}>{value if from_zero else int(value)}</{key}>'
                for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), corners, strict=True)
            )
            name = escape(classes[item['label']])
            body += f'<object><name>{name}</name><difficult>{int(item["is_ignored"])}</difficult>'
            body += f'<bndbox>{values}</bndbox></object>'
        folder = place if is_flat else root / 'annotations' / split
        text(folder / f'{stem}.xml', f'<annotation>{body}</annotation>')


def write_yolo(root, classes, splits, odd):
    separator, is_flat = odd.of([' ', '\t', ', ']), odd.yes()
    for split, stem, suffix, (width, height), objects in each(splits):
        place = f'{split}/images' if is_flat else f'images/{split}'
        image(root / place / f'{stem}{suffix}', (width, height))
        rows = ''
        for item in objects:
            x1, y1, x2, y2 = item['box']
            numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            numbers = rhombus(item['box']) if item['outline'] else numbers
            shares = [f'{v / (width, height)[i % 2]:.9f}' for i, v in enumerate(numbers)]
            rows += separator.join([str(item['label']), *shares]) + '\r\n'
        text(root / place.replace('images', 'labels') / f'{stem}.txt', rows)
    text(root / 'data.yaml', json.dumps(dict(names=classes)))


def write_labelme(root, classes, splits, odd):
    is_flat = odd.yes()
    for split, stem, suffix, (width, height), objects in each(splits):
        place = root / split if is_flat else root / 'images' / split
        image(place / f'{stem}{suffix}', (width, height))
        shapes = []
        for item in objects:
            x1, y1, x2, y2 = item['box']
            points = [[x2, y1], [x1, y2]] if odd.yes() else [[x1, y1], [x2, y2]]
            if item['outline']:
                points = np.reshape(rhombus(item['box']), (-1, 2)).tolist()
            kind = 'polygon' if item['outline'] else 'rectangle'
            flags = dict(difficult=True) if item['is_ignored'] else {}
            label = classes[item['label']]
            shapes.append(dict(label=label, points=points, shape_type=kind, flags=flags))
        folder = place if is_flat else root / 'annotations' / split
        document = dict(shapes=shapes, imageWidth=width, imageHeight=height)
        text(folder / f'{stem}.json', json.dumps(document))


class Odd:
    """Choices of an exporter."""

    def __init__(self, data):
        self.data = data

    def yes(self):
        return self.data.draw(st.booleans())

    def of(self, values):
        return self.data.draw(st.sampled_from(values))

    def integer(self, low, high):
        return self.data.draw(st.integers(low, high))


EXPORTERS = {
    'coco': (write_coco, {}),
    'voc': (write_voc, dict(is_whole=True, with_outlines=False)),
    'yolo': (write_yolo, dict(with_ignored=False)),
    'labelme': (write_labelme, {}),
}


def rows_of(dataset, *, one_folder=False):
    """Return `{(split, stem): objects}` by the new names of the images, and what is named."""
    findings = Findings([*dataset.problems], [*dataset.notes])
    images = collect(dataset, findings, one_folder=one_folder)
    rows = {
        (split, Path(image.name).stem): [
            (dataset.classes[item.label], item.is_ignored, *item.box) for item in image.items
        ]
        for split, items in images.items()
        for image in items
    }
    return rows, findings


def all_ignored(images):
    flags = [item['is_ignored'] for *_, objects in images.values() for item in objects]
    return bool(flags) and all(flags)


def assert_same(found, expected, atol):
    assert found.keys() == expected.keys()
    for key, rows in expected.items():
        assert [row[:2] for row in found[key]] == [row[:2] for row in rows], key
        np.testing.assert_allclose(
            [row[2:] for row in found[key]], [row[2:] for row in rows], rtol=0, atol=atol
        )


@pytest.mark.slow
@pytest.mark.parametrize('kind', EXPORTERS)
def test_what_is_read_stays_itself(kind, tmp_path):
    write, limits = EXPORTERS[kind]

    @settings(max_examples=30 * SCALE, **COMMON)
    @given(data=st.data())
    def stays_itself(data):
        shutil.rmtree(tmp_path / 'all', ignore_errors=True)
        root = tmp_path / 'all' / 'in'
        classes, splits = data.draw(datasets(**limits))
        write(root, classes, splits, Odd(data))
        source = find_dataset(root, keep_splits=True)
        assert source.format == kind
        read, findings = rows_of(source)
        assert findings.problems == []
        true = {
            (split, stem): [
                (classes[o['label']], o['is_ignored'], *map(float, o['box'])) for o in objects
            ]
            for split, stem, _, _, objects in each(splits)
        }
        assert_same(read, true, 0.01)
        for target in WRITERS:
            out = tmp_path / 'all' / target
            if target == 'yolo' and any(all_ignored(images) for images in splits.values()):
                with pytest.raises(UserError, match='YOLO cannot hold ignored objects'):
                    convert(root, out, to=target)
                continue
            done = convert(root, out, to=target)
            named = '\n'.join([*done.problems, *done.notes])
            expected, _ = rows_of(source, one_folder=target == 'voc')
            for (split, stem), rows in list(expected.items()):
                if target == 'yolo' and any(row[1] for row in rows):
                    assert 'difficult object(s)' in named
                    expected[split, stem] = [row for row in rows if not row[1]]
            found = find_dataset(out, keep_splits=True)
            assert found.format == target
            boxes = [v for rows in expected.values() for row in rows for v in row[2:]]
            is_rounded = target == 'voc' and any(abs(v - round(v)) > 0.01 for v in boxes)
            assert ('whole pixels' in named) == is_rounded
            assert_same(rows_of(found)[0], expected, 0.501 if is_rounded else 0.01)
            if found.classes != source.classes:
                assert 'classes.txt' in named

    stays_itself()
