"""Images that EXIF rotates, huge ones, wrongly sized ones, and image headers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.fault import LAZY, coco, coco_file, jpeg, smooth_pixels
from PIL import Image, ImageOps

from mbv2_backbone.annotations.images import (
    EXIF_ORIENTATION,
    decode_image,
    read_image,
    read_image_facts,
)
from mbv2_backbone.workbench.checks import broken_images  # noqa: F401  (registers a transform)


def marked(orientation):
    """Return JPEG data of a white box on black, and the box as stored and as seen, xywh."""
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
def test_boxes_of_rotated_images_fit(tmp_path, orientation, loader, view):
    """Either view may be annotated; where the size cannot tell, it is the one that is seen."""
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
    """Boxes that fit are kept; if they do not fit, another image is used."""
    for name in ('sound', 'fits', 'too_small'):
        (tmp_path / f'{name}.jpg').write_bytes(jpeg(smooth_pixels()))
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


def peak_memory():
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


def test_a_huge_jpeg_is_decoded_small(tmp_path):
    cv2.imwrite(str(tmp_path / 'big.jpg'), np.full((9000, 12000), 99, np.uint8))
    dataset = coco(tmp_path, coco_file(dict(big=(12000, 9000))), LAZY)
    try:
        Path('/proc/self/clear_refs').write_text(
            '5', encoding='utf-8'
        )  # the peak is measured from here on
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
        (tmp_path / 'a.jpg').write_bytes(jpeg(smooth_pixels(), orientation))
        facts = read_image_facts(str(tmp_path / 'a.jpg'))
        assert facts.stored_wh == (80, 60)
        assert facts.orientation == orientation
        assert facts.seen_wh == cv2.imread(str(tmp_path / 'a.jpg')).shape[1::-1]
    (tmp_path / 'a.jpg').write_bytes(jpeg(smooth_pixels()) + b'\0' * 5000)  # phones append videos
    assert not read_image_facts(str(tmp_path / 'a.jpg')).error
    Image.fromarray(smooth_pixels()).save(tmp_path / 'a.png')
    assert not read_image_facts(str(tmp_path / 'a.png')).error
    (tmp_path / 'a.png').write_bytes((tmp_path / 'a.png').read_bytes()[:-20])
    assert read_image_facts(str(tmp_path / 'a.png')).error


@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_an_image_is_read_as_seen_or_as_stored(tmp_path, orientation):
    """With the same size in both views, as for 3, it is the one that is seen."""
    path = tmp_path / 'image.png'
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    image = Image.fromarray(smooth_pixels(30, 20))
    image.save(path, exif=exif)
    seen = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_array_equal(read_image(path)[..., ::-1], seen)
    stored = image if orientation == 6 else seen
    np.testing.assert_array_equal(read_image(path, (30, 20))[..., ::-1], stored)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_gray_image_is_read_as_8_bit_colour(tmp_path, dtype):
    gray = np.arange(20 * 30).reshape(20, 30) % 256
    Image.fromarray((gray * (np.iinfo(dtype).max // 255)).astype(dtype)).save(tmp_path / 'a.png')
    read = read_image(tmp_path / 'a.png')
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.stack([gray] * 3, axis=2))


@pytest.mark.parametrize('data', [None, b'', b'no image', jpeg(smooth_pixels())[:-400]])
def test_a_broken_file_gives_no_image(tmp_path, data):
    path = tmp_path / 'broken.jpg'
    if data is not None:
        path.write_bytes(data)
    assert read_image(path) is None
    with pytest.raises(ValueError, match='cannot be decoded'):
        decode_image(data or b'')
