"""JPEG files decoded at a fraction of their size."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mbv2_backbone.annotations.images import read_image, read_reduced


def write(path, size_wh, rng, orientation=1):
    clouds = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = cv2.resize(clouds, size_wh, interpolation=cv2.INTER_CUBIC)
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
@pytest.mark.parametrize(
    ('enough_wh', 'factor'),
    [((100, 75), 8), ((101, 75), 4), ((200, 100), 4), ((400, 300), 2), ((401, 300), 1)],
)
def test_blocks_are_averaged_and_the_whole_size_is_told(
    tmp_path, rng, orientation, enough_wh, factor
):
    path = tmp_path / 'photo.jpg'
    write(path, (800, 600), rng, orientation)
    whole = read_image(path)
    if orientation >= 5:
        enough_wh = enough_wh[::-1]
    pixels, whole_wh = read_reduced(path, enough_wh)
    assert whole_wh == whole.shape[1::-1]
    assert pixels.shape[1::-1] == tuple(side // factor for side in whole_wh)
    expected = cv2.resize(whole, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert abs(pixels.astype(int) - expected).mean() < 1.5
    if factor == 1:
        assert np.array_equal(pixels, whole)


def test_an_image_that_pillow_refuses_is_read_whole(tmp_path, rng, monkeypatch):
    path = tmp_path / 'photo.jpg'
    cv2.imwrite(str(path), rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    pixels, whole_wh = read_reduced(path, (10, 10))
    assert np.array_equal(pixels, read_image(path))
    assert whole_wh == (80, 60)


def test_other_formats_are_read_whole_and_broken_files_give_none(tmp_path, rng):
    image = rng.integers(0, 256, (64, 48, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    pixels, whole_wh = read_reduced(tmp_path / 'a.png', (4, 4))
    assert np.array_equal(pixels, image)
    assert whole_wh == (48, 64)
    (tmp_path / 'b.jpg').write_bytes(b'\xff\xd8\xff\xe0 nothing')
    assert read_reduced(tmp_path / 'b.jpg', (4, 4)) is None
    write(tmp_path / 'c.jpg', (800, 600), rng)
    data = (tmp_path / 'c.jpg').read_bytes()
    (tmp_path / 'c.jpg').write_bytes(data[: len(data) // 2])
    assert read_reduced(tmp_path / 'c.jpg', (100, 75)) is None
    assert read_reduced(tmp_path / 'none.jpg', (100, 75)) is None
