"""Downloads resume after any server failure."""

import io
import random
import re
import socket
import sys
import urllib.error

import pytest
from helpers.fetch import Site

from mbv2_backbone.common import downloads
from mbv2_backbone.common.downloads import DroppedConnectionError, download

CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(downloads, 'PAUSE_SECONDS', 0.01)
    site = Site()
    site.files['/file.zip'] = CONTENT
    yield site
    site.close()


def get(site, path):
    download(f'{site.url}/file.zip', path, name='file.zip')


def test_a_download_arrives_and_shows_its_progress_and_speed(site, tmp_path, capsys):
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 11
    assert lines[-1].startswith('file.zip: 3.0 of 3.0 MB (100 %), ')
    assert all(line.endswith(' MB/s') for line in lines)


def test_a_terminal_gets_one_line(site, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, 'stderr', Terminal())
    get(site, tmp_path / 'a')
    shown = sys.stderr.getvalue()
    assert shown.count('\n') == 1
    assert shown.endswith(' MB/s\x1b[K\n')
    assert '\rfile.zip: 3.0 of 3.0 MB (100 %), ' in shown


def test_an_unknown_length(site, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(downloads, '_BYTES_PER_LINE', 1_000_000)
    site.says_length = False
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(', .*', '', line) for line in lines] == [
        f'file.zip: {size} MB' for size in ('1.0', '2.1', '3.0')
    ]


def test_an_empty_file(site, tmp_path):
    site.files['/file.zip'] = b''
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == b''


def test_a_partial_file_is_completed(site, tmp_path):
    (tmp_path / 'a').write_bytes(CONTENT[:2_000_000])
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT
    assert site.requests == [('/file.zip', 'bytes=2000000-')]


@pytest.mark.parametrize('resets', [False, True])
def test_a_dropped_connection_is_resumed(site, tmp_path, resets):
    # A reset may discard data that was sent before it.
    site.resets, site.drops = resets, [1_000_000, 5] if resets else [1_000_000, 700_000, 0, 5]
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT
    if not resets:
        begins = [begin for _, begin in site.requests]
        assert begins == [None, 'bytes=1000000-', *['bytes=1700000-'] * 2, 'bytes=1700005-']


def test_a_server_without_ranges_sends_the_whole_file_again(site, tmp_path):
    site.ranges, site.drops = False, [1_000_000]
    (tmp_path / 'a').write_bytes(b'another beginning')
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT
    assert len(site.requests) == 2


def test_a_download_without_progress_is_given_up(site, tmp_path):
    site.drops = [1000, *[0] * 20]
    with pytest.raises(DroppedConnectionError, match=f'after 1000 of {len(CONTENT)} bytes'):
        get(site, tmp_path / 'a')
    assert len(site.requests) == 1 + downloads.MAX_FRUITLESS_TRIES
    assert (tmp_path / 'a').read_bytes() == CONTENT[:1000]


def test_a_complete_file_is_not_sent_again(site, tmp_path):
    (tmp_path / 'a').write_bytes(CONTENT)
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT
    assert len(site.requests) == 1


def test_a_partial_file_that_is_too_long_is_replaced(site, tmp_path):
    (tmp_path / 'a').write_bytes(CONTENT + b'more')
    get(site, tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == CONTENT


def test_a_missing_file_and_a_missing_server_end_at_once(site, tmp_path):
    with pytest.raises(urllib.error.HTTPError, match='404'):
        download(f'{site.url}/other.zip', tmp_path / 'a', name='other.zip')
    assert len(site.requests) == 1
    site.close()
    with pytest.raises(urllib.error.URLError, match='refused'):
        get(site, tmp_path / 'a')


def test_a_server_that_hangs_up_without_an_answer(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(downloads, 'PAUSE_SECONDS', 0.01)
    monkeypatch.setattr(downloads, '_TIMEOUT_SECONDS', 0.2)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/file.zip'
        with pytest.raises(DroppedConnectionError, match='did not answer'):
            download(url, tmp_path / 'a', name='file.zip')
