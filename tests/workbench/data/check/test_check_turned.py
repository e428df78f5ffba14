"""`data check` says which photos are turned by their EXIF data, and which stay as stored."""

import json

import pytest
from helpers.check import texts
from helpers.image_formats import STORED_WH, encoded, photo

from mbv2_backbone.workbench.data.check.check import check_folder


@pytest.mark.parametrize('file_format', ['JPEG', 'WEBP', 'AVIF', 'TIFF'])
def test_turned_photos_are_counted(tmp_path, file_format):
    suffix = dict(JPEG='.jpg', TIFF='.tif').get(file_format, f'.{file_format.lower()}')
    sizes = dict(upright=(STORED_WH[::-1], 6), lying=(STORED_WH, 6), plain=(STORED_WH, 1))
    images, annotations = [], []
    for i, (name, ((width, height), orientation)) in enumerate(sizes.items(), 1):
        data = encoded(photo(), file_format, orientation)
        (tmp_path / f'{name}{suffix}').write_bytes(data)
        images.append(dict(id=i, file_name=f'{name}{suffix}', width=width, height=height))
        box = [2, 2, 20, 20]
        annotations.append(dict(id=i, image_id=i, category_id=1, bbox=box, area=400, iscrowd=0))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='disc')])
    (tmp_path / 'train.json').write_text(json.dumps(content))
    report = check_folder(tmp_path)
    assert texts(report, 'error') == ''
    turned = 'train: 1 image(s) are turned as their EXIF data says, as are their annotations'
    assert turned in texts(report, 'ok')
    lying = '1 image(s) are not rotated as their EXIF data says, to match their annotations'
    assert f'{lying}: lying{suffix}' in texts(report, 'warning').replace(f'{tmp_path}/', '')
