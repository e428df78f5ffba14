"""Resumable downloads with a progress bar."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path

MAX_FRUITLESS_TRIES = 3
PAUSE_SECONDS = 1
_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 18
# On a terminal one line is rewritten; a log gets lines.
_SECONDS_PER_UPDATE = 0.2
_PERCENT_PER_LINE = 10
_BYTES_PER_LINE = 10_000_000


class DroppedConnectionError(ConnectionError):
    """An established connection was dropped."""


def download(url: str, path: Path, *, name: str) -> None:
    """Download a file, continuing after the part of it that is already at `path`.

    A dropped connection is reopened as long as each attempt brings new data. If the server cannot
    send the rest of a file, the whole file is downloaded and replaces the part.

    Args:
        url: An `http://` or `https://` address.
        path: The file, or its beginning; created if missing.
        name: What to call it in the messages on stderr.

    Raises:
        urllib.error.HTTPError: If the server refuses.
        OSError: If there is no server, the connection keeps dropping, or `path` is not writable.
    """
    furthest, fruitless = size_so_far(path), 0
    while True:
        try:
            _receive(url, path, name)
            return
        except DroppedConnectionError as error:
            fruitless = 0 if size_so_far(path) > furthest else fruitless + 1
            if fruitless == MAX_FRUITLESS_TRIES:
                raise
            print(f'{name}: {error}; continuing', file=sys.stderr)
        furthest = max(furthest, size_so_far(path))
        time.sleep(PAUSE_SECONDS * fruitless)


def size_so_far(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, path: Path, name: str) -> None:
    have = size_so_far(path)
    try:
        response = _open(url, have)
    except urllib.error.HTTPError as error:
        range_is_past_the_end = error.code == 416
        if not range_is_past_the_end:
            raise
        if error.headers.get('Content-Range') == f'bytes */{have}':
            return
        response = _open(url, 0)
    with response, path.open('ab' if response.status == 206 else 'wb') as file:
        begin = file.tell()
        length = int(response.headers.get('Content-Length') or 0)
        total = begin + length if length else 0
        for chunk in _shown(_chunks(response), name, begin, total):
            file.write(chunk)
        if file.tell() < total:
            raise DroppedConnectionError(
                f'the connection was lost after {file.tell()} of {total} bytes'
            )


def _open(url: str, begin: int) -> HTTPResponse:
    headers = {'User-Agent': 'mbv2_backbone'}
    if begin:
        headers['Range'] = f'bytes={begin}-'
    request = urllib.request.Request(url, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.URLError:
        raise
    except (OSError, HTTPException) as error:
        raise DroppedConnectionError(f'the server did not answer: {error}') from error


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK_BYTES):
            yield chunk
    except (OSError, HTTPException) as error:
        raise DroppedConnectionError(f'the connection was lost: {error}') from error


def _shown(chunks: Iterator[bytes], name: str, done: int, total: int) -> Iterator[bytes]:
    """Yield the chunks and show the progress; `total` is 0 if unknown."""
    is_terminal = sys.stderr.isatty()
    begin, start, last_update, last_step = done, time.monotonic(), 0.0, 0
    try:
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            now = time.monotonic()
            line = _line(name, done, total, (done - begin) / max(now - start, 1e-3))
            step = 100 * done // total // _PERCENT_PER_LINE if total else done // _BYTES_PER_LINE
            if is_terminal and (done == total or now - last_update > _SECONDS_PER_UPDATE):
                print(f'\r{line}\x1b[K', end='', file=sys.stderr, flush=True)
                last_update = now
            elif not is_terminal and step != last_step:
                print(line, file=sys.stderr, flush=True)
                last_step = step
    finally:
        if is_terminal:
            print(file=sys.stderr)


def _line(name: str, done: int, total: int, rate: float) -> str:
    of = f' of {total / 1e6:.1f} MB ({100 * done // total} %)' if total else ' MB'
    return f'{name}: {done / 1e6:.1f}{of}, {rate / 1e6:.1f} MB/s'
