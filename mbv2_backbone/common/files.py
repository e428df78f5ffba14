"""Atomic writes: a file or folder is complete or absent, even if writing it fails."""

from __future__ import annotations

import hashlib
import os
import os.path as osp
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

_CHUNK_BYTES = 1 << 20


@contextmanager
def replaced_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; the file written there replaces `path` at the end.

    The old file stays until then, and is kept if anything fails; no temporary file remains.

    Raises:
        OSError: If the disk is full, for example.
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.part')
    try:
        yield part
        with part.open('rb') as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def folder_replaced_whole(path: str | Path) -> Iterator[Path]:
    """Yield a new folder to fill, which replaces the one at `path` at the end.

    The old folder stays until then, and is kept if anything fails; no temporary folder remains.

    Raises:
        OSError: If the disk is full, for example.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}-', dir=path.parent) as scratch:
        new = Path(scratch, 'new')
        new.mkdir()
        yield new
        if path.exists():
            path.rename(Path(scratch, 'old'))
        new.rename(path)


def is_free(path: Path) -> bool:
    """Check that a path does not exist or is an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def write_atomically(data: bytes, path: str | Path) -> None:
    """Write a file with `replaced_whole`, and create its folder if needed.

    Raises:
        OSError: If the disk is full, for example; no partial file remains.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replaced_whole(path) as part:
        part.write_bytes(data)


def append_line(line: str, path: str | Path) -> None:
    """Append a line to a file, or nothing at all if the disk cannot take the whole line.

    Raises:
        OSError: If the disk is full, for example.
    """
    data = f'{line}\n'.encode()
    with open(path, 'ab', buffering=0) as file:
        size = file.tell()
        try:
            while data:  # a disk that fills up accepts the first part without an error
                data = data[file.write(data) :]
        except OSError:
            file.truncate(size)
            raise


def sha256_of_file(path: str | PathLike[str]) -> str:
    """Return the SHA-256 of a file's content in lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def result_path(image: str, image_root: str | None, folder: str, suffix: str) -> Path:
    """Return the path of a result, and make its folder.

    Args:
        image: Path of the image.
        image_root: Folders between it and the image are kept, so that images with the same name
            in several folders do not overwrite each other. Others give only their file name.
        folder: Where the results go.
        suffix: Its suffix, such as `.png`.
    """
    relative = osp.relpath(image, image_root) if image_root else osp.basename(image)
    if relative.startswith(osp.pardir):
        relative = osp.basename(image)
    path = Path(folder, relative).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
