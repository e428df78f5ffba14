"""Files and folders that are whole or not there, whatever happens while they are written."""

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
    """Give a file next to `path` to write to, which replaces it at the end.

    What stood there stays until then, and for good if anything fails; nothing is left behind.

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
    """Give a new folder to fill, which replaces another one at the end.

    What stood there stays until then, and for good if anything fails; nothing is left behind.

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
    """Tell whether nothing is at a path, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def write_atomically(data: bytes, path: str | Path) -> None:
    """Write a file by `replaced_whole`, and its folder if need be.

    Raises:
        OSError: If the disk is full, for example; nothing is left behind.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replaced_whole(path) as part:
        part.write_bytes(data)


def append_line(line: str, path: str | Path) -> None:
    """Add a line to a file; of one that the disk does not take whole, nothing stays.

    Raises:
        OSError: If the disk is full, for example.
    """
    data = f'{line}\n'.encode()
    with open(path, 'ab', buffering=0) as file:
        size = file.tell()
        try:
            while data:  # a disk that fills up takes the first part without an error
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
        image_root: The folders between it and the image are kept, so that images of one name in
            several folders do not overwrite each other. An image outside it gives its name only.
        folder: Where the results go.
        suffix: Of the result, such as `.png`.
    """
    relative = osp.relpath(image, image_root) if image_root else osp.basename(image)
    if relative.startswith(osp.pardir):
        relative = osp.basename(image)
    path = Path(folder, relative).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
