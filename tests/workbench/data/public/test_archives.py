"""Untrusted archives: unpacked completely into their folder, or refused with nothing written."""

import hashlib
import io
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest
from helpers.files import contents
from helpers.paths import ROOT

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.public.archives import extract

FILES = {'a.txt': b'first', 'sub/b.txt': b'second', 'sub/deep/c.bin': bytes(range(256))}


def make_zip(path, files, link=None):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if link:
            entry = zipfile.ZipInfo(link[0])
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, link[1])
    return path


def make_tar(path, files, *entries):
    with tarfile.open(path, f'w:{path.suffix[1:]}' if path.suffix != '.tar' else 'w') as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, kind, target in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    return path


@pytest.mark.parametrize('name', ['x.zip', 'x.tar', 'x.gz', 'x.xz', 'misnamed.zip'])
def test_every_packed_file_is_unpacked(tmp_path, name):
    path = tmp_path / name
    if name == 'x.zip':
        make_zip(path, FILES)
    else:
        source = tmp_path / 'x.tar' if name == 'misnamed.zip' else path
        make_tar(source, FILES)
        source.replace(path)
    folder = tmp_path / 'out'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'sub/old.txt').write_bytes(b'stays')
    (folder / 'a.txt').write_bytes(b'is replaced')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert extract(path, folder, sha256=digest.upper()) == folder
    assert contents(folder) == FILES | {'sub/old.txt': b'stays'}
    assert {p.name for p in tmp_path.iterdir()} == {name, 'out'}


def refused(path, match, **kwargs):
    """Check that it is refused with nothing written, to the folder or beside it."""
    folder = path.parent / 'inner' / 'out'
    before = {p for p in path.parent.rglob('*') if p.is_file()}
    with pytest.raises(UserError, match=match):
        extract(path, folder, **kwargs)
    assert {p for p in path.parent.rglob('*') if p.is_file()} == before
    assert not folder.exists()


NAMES = ['../evil.txt', 'sub/../../evil.txt', '/tmp/evil.txt', '..\\evil.txt', 'C:\\evil.txt']


@pytest.mark.parametrize('name', NAMES)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    refused(make_zip(tmp_path / 'x.zip', FILES | {name: b'evil'}), 'written outside')
    refused(make_tar(tmp_path / 'x.tar', FILES | {name: b'evil'}), 'written outside')


def test_links_that_leave_the_folder_and_devices_are_refused(tmp_path):
    refused(make_zip(tmp_path / 'x.zip', FILES, ('link', '../../etc')), 'link or device')
    for kind, target in [
        (tarfile.SYMTYPE, '/etc'),
        (tarfile.SYMTYPE, '../..'),
        (tarfile.LNKTYPE, '../../x.tar'),
        (tarfile.LNKTYPE, '/etc/passwd'),
        (tarfile.CHRTYPE, ''),
        (tarfile.FIFOTYPE, ''),
    ]:
        refused(make_tar(tmp_path / 'x.tar', FILES, ('link', kind, target)), 'refused')


def test_writing_through_a_link_is_refused(tmp_path):
    path = tmp_path / 'x.tar'
    with tarfile.open(path, 'w') as archive:
        link = tarfile.TarInfo('link')
        link.type, link.linkname = tarfile.SYMTYPE, 'other.txt'
        archive.addfile(link)
        entry = tarfile.TarInfo('link')
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b'evil'))
    refused(path, 'through a link')


def test_links_within_the_folder_are_kept(tmp_path):
    path = make_tar(tmp_path / 'x.tar', FILES, ('sub/link', tarfile.SYMTYPE, '../a.txt'))
    extract(path, tmp_path / 'out')
    assert (tmp_path / 'out/sub/link').read_bytes() == b'first'


def test_bombs_are_refused(tmp_path):
    zeros = {'zeros': bytes(80 * 2**20)}
    refused(make_zip(tmp_path / 'x.zip', zeros), 'bomb')
    refused(make_tar(tmp_path / 'x.gz', zeros), 'bomb')
    refused(
        make_zip(tmp_path / 'y.zip', {'a': bytes(1000), 'b': bytes(1000)}), 'bomb', max_bytes=1999
    )
    extract(tmp_path / 'y.zip', tmp_path / 'out', max_bytes=2000)


def test_a_zip_that_states_less_than_it_holds_writes_no_more_than_that(tmp_path, monkeypatch):
    path = make_zip(tmp_path / 'x.zip', {'a': bytes(10_000)})
    stated = (100).to_bytes(4, 'little')
    path.write_bytes(path.read_bytes().replace((10_000).to_bytes(4, 'little'), stated))
    written = []
    copy = shutil.copyfileobj

    def copying(source, target):
        try:
            copy(source, target)
        finally:
            written.append(target.tell())

    monkeypatch.setattr(shutil, 'copyfileobj', copying)
    refused(path, 'damaged', max_bytes=1000)
    assert written == [pytest.approx(0, abs=100)]


def test_a_wrong_hash_and_damaged_archives_are_refused(tmp_path):
    path = make_zip(tmp_path / 'x.zip', FILES)
    refused(path, 'has the SHA-256', sha256='0' * 64)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, 'neither a zip nor a tar')
    changed = make_zip(tmp_path / 'y.zip', {'a': bytes(range(256))})
    changed.write_bytes(changed.read_bytes().replace(b'\x20\x21', b'\x20\x22', 1))
    refused(changed, 'damaged')
    cut_off = make_tar(tmp_path / 'y.gz', {'a': random.Random(0).randbytes(50_000)})
    cut_off.write_bytes(cut_off.read_bytes()[:30_000])
    refused(cut_off, 'damaged')


def test_the_tool_unpacks_and_refuses(tmp_path):
    tool = ROOT / 'tools' / 'data.py'
    good, bad = make_zip(tmp_path / 'a.zip', FILES), make_zip(tmp_path / 'b.zip', {'../evil': b''})
    digest = hashlib.sha256(good.read_bytes()).hexdigest()
    for archive, stated, code in ((good, digest, 0), (good, digest[::-1], 2), (bad, None, 2)):
        command = [
            sys.executable,
            str(tool),
            'unpack',
            str(archive),
            '--out',
            str(tmp_path / 'out'),
        ]
        result = subprocess.run(
            [*command, *(['--sha256', stated] if stated else [])], capture_output=True, text=True
        )
        assert result.returncode == code, result.stderr
        assert ('error: ' in result.stderr) == (code == 2)
    assert (tmp_path / 'out/sub/b.txt').read_bytes() == FILES['sub/b.txt']
    assert not (tmp_path / 'evil').exists()
