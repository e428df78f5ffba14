"""`data check` finds what would stop or spoil the training of a classifier."""

import re
import shutil

import pytest
from helpers.class_data import write_classes
from helpers.image_formats import encoded, grey

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.check.check import check_data


def levels(report):
    return {finding.what.splitlines()[0]: finding.level for finding in report.findings}


def test_a_sound_folder(tmp_path):
    report = check_data(write_classes(tmp_path), task='cls')
    assert set(levels(report).values()) == {'ok'}
    assert levels(report)['train: 12 images of 3 classes'] == 'ok'
    assert report.as_json()['splits']['val']['images'] == 12
    assert not report.stops_training


def test_each_fault_is_found(tmp_path):
    root = write_classes(tmp_path, dict(blue=30, green=1, red=30))
    (root / 'train/red/0.jpg').write_bytes(b'')
    (root / 'train/red/1.jpg').write_bytes(encoded(grey()[..., 0], 'JPEG'))
    shutil.copy(root / 'train/blue/0.jpg', root / 'val/blue/same.jpg')
    report = check_data(root, task='cls')
    found = levels(report)
    assert found['train: only one image of green; more would be better'] == 'warning'
    assert found['train: 1 of 61 images are broken'] == 'warning'
    assert 'train: 1 image(s) are grayscale' in str(report)
    assert '1 images are in more than one split' in str(report)
    assert not report.stops_training


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda r: shutil.rmtree(r / 'val/red'), 'val has no image of red'),
        (lambda r: shutil.rmtree(r / 'train/red'), 'val has folders of other classes'),
        (lambda r: (r / 'train/pink').mkdir(), 'train has no image of pink'),
        (lambda r: (r / 'val/red/0.jpg').write_bytes(b''), 'red/0.jpg is empty'),
    ],
    ids=['only in train', 'only in val', 'no image', 'broken in val'],
)
def test_what_stops_training_is_an_error(spoil, message, tmp_path):
    root = write_classes(tmp_path)
    spoil(root)
    report = check_data(root, task='cls')
    assert message in str(report)
    assert report.stops_training


@pytest.mark.parametrize('task', [None, 'cls'])
def test_without_a_split_it_is_said_how_the_images_are_split(task, tmp_path):
    root = write_classes(tmp_path)
    report = check_data(root / 'train', task=task)
    assert not report.stops_training
    assert 'no validation split (found: train); a hash of their names takes about' in str(report)
    assert re.search(r'images by class +train +val\n  blue +3 +1\n', str(report))


def test_photos_that_are_not_sorted_are_not_taken_for_a_class(tmp_path):
    root = write_classes(tmp_path / 'a', dict(images=4, masks=4), splits=('train',))
    with pytest.raises(UserError, match='holds no images with annotations'):
        check_data(root / 'train/images')
    with pytest.raises(UserError, match='holds no images with annotations'):
        check_data(root / 'train')
    with pytest.raises(
        UserError, match=r'has no images sorted by class, .* laid out so:\n  train/'
    ):
        check_data(root / 'train/images', task='cls')
