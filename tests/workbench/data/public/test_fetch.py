"""`tools/data.py fetch`: never accepts a wrong archive, never downloads twice."""

import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.fetch import (
    AUG,
    TRAIN,
    VAL,
    change,
    files_in,
    refused,
    sbd_mask,
    small_catalogue,
    voc_mask,
)
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.public import fetch as fetch_module
from mbv2_backbone.workbench.data.public.catalogue import CATALOGUE
from mbv2_backbone.workbench.data.public.fetch import fetch, hash_of_content

TRAINVAL, TEST = 'VOCtrainval_06-Nov-2007.tar', 'VOCtest_06-Nov-2007.tar'


def test_two_archives_make_one_dataset_and_a_second_call_does_nothing(archive_server, tmp_path):
    assert fetch('voc2007', tmp_path, mirror=f'{archive_server.url}/')
    assert [path for path, _ in archive_server.requests] == [f'/{TRAINVAL}', f'/{TEST}']
    names = ('000001', '000005', '000007')
    assert files_in(tmp_path) == {
        'VOCdevkit/VOC2007/ImageSets/Main/trainval.txt',
        'VOCdevkit/VOC2007/ImageSets/Main/test.txt',
        *(f'VOCdevkit/VOC2007/JPEGImages/{name}.jpg' for name in names),
        *(f'VOCdevkit/VOC2007/Annotations/{name}.xml' for name in names),
    }
    assert not fetch('voc2007', tmp_path, mirror=archive_server.url)
    assert len(archive_server.requests) == 2


def test_only_what_is_missing_is_fetched(archive_server, tmp_path):
    fetch('voc2007', tmp_path, mirror=archive_server.url)
    (tmp_path / 'VOCdevkit/VOC2007/JPEGImages/000001.jpg').unlink()
    assert fetch('voc2007', tmp_path, mirror=archive_server.url)
    assert [path for path, _ in archive_server.requests] == [f'/{TRAINVAL}', f'/{TEST}', f'/{TEST}']


def test_an_interrupted_download_is_resumed(archive_server, tmp_path):
    work = tmp_path / 'fetching-coco2017'
    work.mkdir()
    (work / 'train2017.zip.part').write_bytes(archive_server.files['/train2017.zip'][:500])
    assert fetch('coco2017', tmp_path, mirror=archive_server.url)
    assert ('/train2017.zip', 'bytes=500-') in archive_server.requests
    assert not work.exists()


def test_a_part_of_another_file_is_detected_and_discarded(archive_server, tmp_path):
    work = tmp_path / 'fetching-voc2012'
    work.mkdir()
    (work / 'VOCtrainval_11-May-2012.tar.part').write_bytes(b'?' * 500)
    refused('its SHA-256 is', 'voc2012', tmp_path, archive_server)
    assert fetch('voc2012', tmp_path, mirror=archive_server.url)


def test_partial_files_without_a_hash_are_not_resumed(archive_server, tmp_path):
    (name,) = (archive.name for archive in CATALOGUE['bccd'])
    work = tmp_path / 'fetching-bccd'
    work.mkdir()
    (work / f'{name}.part').write_bytes(archive_server.files[f'/{name}'][:100])
    assert fetch('bccd', tmp_path, mirror=archive_server.url)
    assert archive_server.requests == [(f'/{name}', None)]


def test_an_interrupted_unpacking_does_not_look_finished(archive_server, tmp_path):
    def merge_half(root, folder):
        shutil.copytree(root / 'JPEGImages', folder / 'JPEGImages')
        raise KeyboardInterrupt

    whole = fetch_module.CATALOGUE['voc2012']
    change('voc2012', install=merge_half)
    with pytest.raises(KeyboardInterrupt):
        fetch('voc2012', tmp_path, mirror=archive_server.url)
    fetch_module.CATALOGUE['voc2012'] = whole
    assert fetch('voc2012', tmp_path, mirror=archive_server.url)
    assert len(archive_server.requests) == 1  # the archive was already there
    assert not fetch('voc2012', tmp_path, mirror=archive_server.url)


def test_a_wrong_file_is_not_unpacked(archive_server, tmp_path):
    archive_server.files[f'/{TRAINVAL}'] += b'!'
    message = refused(f'could not download {TRAINVAL}', 'voc2007', tmp_path, archive_server)
    assert re.search(
        f'{archive_server.url}/{TRAINVAL}: its SHA-256 is [0-9a-f]{{64}}, not ', message
    )
    assert not (tmp_path / 'VOCdevkit').exists()


def test_the_next_address_is_tried(archive_server, tmp_path):
    archive_server.files['/bad.tar'] = b'no archive'
    good = f'{archive_server.url}/VOCtrainval_11-May-2012.tar'
    change(
        'voc2012',
        addresses=(f'{archive_server.url}/gone.tar', f'{archive_server.url}/bad.tar', good),
    )
    assert fetch('voc2012', tmp_path)
    assert len(archive_server.requests) == 3


def test_a_web_page_in_place_of_an_archive_without_a_hash(archive_server, tmp_path):
    (archive,) = CATALOGUE['camvid']
    archive_server.files[f'/{archive.name}'] = b'<html>Sign in</html>'
    refused('this is not a complete zip archive', 'camvid', tmp_path, archive_server)
    assert not list(tmp_path.rglob('*.zip*'))


def test_other_content_than_published_is_refused_and_not_kept(archive_server, tmp_path):
    (archive,) = small_catalogue()[0]['bccd']
    fetch('bccd', tmp_path / 'a', mirror=archive_server.url)
    right = hash_of_content(archive, tmp_path / 'a/BCCD')
    change('bccd', content_sha256='0' * 64)
    refused('does not hold the files that were published', 'bccd', tmp_path / 'b', archive_server)
    assert not (tmp_path / 'b/BCCD').exists()
    change('bccd', content_sha256=right)
    fewer = io.BytesIO()
    with zipfile.ZipFile(fewer, 'w') as half:
        half.writestr('BCCD_Dataset-master/BCCD/ImageSets/Main/train.txt', 'BloodImage_00001')
    archive_server.files[f'/{archive.name}'] = fewer.getvalue()
    refused('does not hold the files that were published', 'bccd', tmp_path / 'b', archive_server)
    archive_server.files[f'/{archive.name}'] = small_catalogue()[1][archive.name]
    assert fetch('bccd', tmp_path / 'b', mirror=archive_server.url)
    assert len(archive_server.requests) == 4


def test_the_hash_of_the_content_is_over_names_and_bytes(archive_server, tmp_path):
    fetch('bccd', tmp_path, mirror=archive_server.url)
    (archive,), folder = small_catalogue()[0]['bccd'], tmp_path / 'BCCD'
    before = hash_of_content(archive, folder)
    (folder / 'JPEGImages/other.jpg').write_bytes(b'not of the dataset')
    assert hash_of_content(archive, folder) == before
    for path in ('ImageSets/Main/val.txt', 'Annotations/BloodImage_00001.xml'):
        content = (folder / path).read_bytes()
        (folder / path).write_bytes(content + b'\n')
        assert hash_of_content(archive, folder) != before
        (folder / path).write_bytes(content)


def test_too_few_files_are_not_a_dataset(archive_server, tmp_path):
    change('camvid', counts={'train/*.png': 2})
    refused('files are missing in .*CamVid', 'camvid', tmp_path, archive_server)


def test_another_archive_is_refused(archive_server, tmp_path):
    (bccd,), (camvid,) = CATALOGUE['bccd'], CATALOGUE['camvid']
    archive_server.files[f'/{bccd.name}'] = archive_server.files[f'/{camvid.name}']
    refused('has no folder BCCD_Dataset-', 'bccd', tmp_path, archive_server)


def test_a_file_of_the_user_is_used_and_stays(archive_server, tmp_path):
    (tmp_path / 'archives').mkdir()
    own = tmp_path / 'archives' / TRAINVAL
    own.write_bytes(archive_server.files[f'/{TRAINVAL}'])
    assert fetch('voc2007', tmp_path, mirror=archive_server.url)
    assert [path for path, _ in archive_server.requests] == [f'/{TEST}']
    assert [path.name for path in (tmp_path / 'archives').iterdir()] == [TRAINVAL]


def test_a_wrong_file_of_the_user_is_named_and_stays(archive_server, tmp_path):
    (tmp_path / 'archives').mkdir()
    own = tmp_path / 'archives' / TRAINVAL
    own.write_bytes(b'half of it')
    message = refused('its SHA-256 is', 'voc2007', tmp_path, archive_server)
    assert str(own) in message
    assert 'delete it' in message
    assert own.exists()
    assert archive_server.requests == []


def test_archives_are_kept_if_wanted(archive_server, tmp_path):
    fetch('coco2017', tmp_path, mirror=archive_server.url, keep_archives=True)
    kept = {path.name for path in (tmp_path / 'archives').iterdir()}
    assert kept == {'annotations_trainval2017.zip', 'val2017.zip', 'train2017.zip'}
    shutil.rmtree(tmp_path / 'coco')
    fetch('coco2017', tmp_path, mirror=archive_server.url)
    assert len(archive_server.requests) == 3


@pytest.mark.parametrize(('keep', 'needed'), [(False, '6.0'), (True, '7.0')])
def test_the_disk_must_have_space(archive_server, tmp_path, monkeypatch, keep, needed):
    usage = shutil.disk_usage(tmp_path)._replace(free=5_900_000_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    change('voc2007', size=1_000_000_000, unpacked=2_500_000_000)
    message = f'needs about {needed} GB on the disk of .* which has 5.9 GB free'
    refused(message, 'voc2007', tmp_path, archive_server, keep_archives=keep)
    assert archive_server.requests == []


def test_existing_files_need_no_more_space(archive_server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_300_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    change('voc2012', size=1_000_000, unpacked=500_000)
    refused('needs about 2 MB', 'voc2012', tmp_path, archive_server)
    work = tmp_path / 'fetching-voc2012'
    work.mkdir()
    (work / 'VOCtrainval_11-May-2012.tar.part').write_bytes(b'?' * 300_000)
    assert fetch('voc2012', tmp_path, mirror=archive_server.url)


def test_two_fetches_at_once_do_not_mix(archive_server, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / '.VOCdevkit-VOC2012.lock'):
        for name in ('voc2012', 'voc12aug'):  # into one folder
            refused('another process is fetching to .*VOC2012', name, tmp_path, archive_server)
    fetch('voc2012', tmp_path, mirror=archive_server.url)


def test_what_another_process_fetched_in_the_meantime_is_not_fetched_again(
    archive_server, tmp_path, monkeypatch
):
    import filelock

    fetch('voc2007', tmp_path / 'other', mirror=archive_server.url)
    archive_server.requests.clear()

    class LateLock(filelock.FileLock):
        def __enter__(self):
            shutil.copytree(tmp_path / 'other', tmp_path / 'mine', dirs_exist_ok=True)
            return super().__enter__()

    monkeypatch.setattr(filelock, 'FileLock', LateLock)
    assert not fetch('voc2007', tmp_path / 'mine', mirror=archive_server.url)
    assert archive_server.requests == []


def test_the_work_folder_is_removed_while_the_lock_is_held(archive_server, tmp_path, monkeypatch):
    from filelock import FileLock, Timeout

    rmtree, others = shutil.rmtree, []

    def remove(path, *args, **kwargs):
        if Path(path).name == 'fetching-voc2007':
            try:
                FileLock(tmp_path / '.VOCdevkit-VOC2007.lock', timeout=0).acquire().lock.release()
            except Timeout as error:
                others.append(error)
        rmtree(path, *args, **kwargs)

    monkeypatch.setattr(shutil, 'rmtree', remove)
    fetch('voc2007', tmp_path, mirror=archive_server.url)
    assert len(others) == 1


def test_invalid_names_and_mirrors(archive_server, tmp_path):
    with pytest.raises(
        UserError, match='there are voc2007, voc2012, voc12aug, coco2017, bccd, cam'
    ):
        fetch('imagenet', tmp_path)
    with pytest.raises(UserError, match='must begin with http'):
        fetch('bccd', tmp_path, mirror='/mnt/mirror')


def test_voc12aug_is_voc_and_the_masks_of_sbd(archive_server, tmp_path):
    fetch('voc12aug', tmp_path, mirror=archive_server.url)
    voc = tmp_path / 'VOCdevkit/VOC2012'
    lists = {
        name: (voc / f'ImageSets/Segmentation/{name}.txt').read_text().split()
        for name in ('train', 'val', 'aug', 'trainaug')
    }
    assert lists == {'train': [TRAIN], 'val': [VAL], 'aug': [*AUG], 'trainaug': [TRAIN, *AUG]}
    expected = {name: sbd_mask(name) for name in AUG} | {TRAIN: voc_mask(15), VAL: voc_mask(7)}
    masks = voc / 'SegmentationClassAug'
    assert {path.stem for path in masks.iterdir()} == set(expected)
    for name, mask in expected.items():
        assert np.array_equal(np.asarray(Image.open(masks / f'{name}.png')), mask)
    (masks / f'{AUG[0]}.png').unlink()
    assert fetch('voc12aug', tmp_path, mirror=archive_server.url)
    assert (masks / f'{AUG[0]}.png').exists()
    assert [path for path, _ in archive_server.requests].count('/benchmark.tgz') == 2
    assert len(archive_server.requests) == 3
