"""Unpack untrusted archives safely: nothing is written outside the target folder."""

from __future__ import annotations

import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ....common.files import sha256_of_file
from ....common.messages import UserError

MAX_RATIO = 200  # unpacked to packed bytes; images and annotations stay far below
MIN_SUSPECT_BYTES = 2**26
MAX_ENTRIES = 5_000_000
T = TypeVar('T')


def extract(
    archive: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    sha256: str | None = None,
    max_bytes: int | None = None,
) -> Path:
    """Unpack a zip or tar archive completely, or not at all.

    It is unpacked next to the folder, and moved there when complete. Existing files are
    replaced by those in the archive.

    Args:
        archive: A `.zip`, or a tar with any compression that Python supports; detected by content.
        folder: Where the files go; created if missing.
        sha256: The expected hash of the archive.
        max_bytes: Most bytes it may unpack to; by default 200 times its size, and at least 64 MiB.

    Returns:
        The folder.

    Raises:
        UserError: If the hash differs, the archive is damaged, an entry would leave the folder or
            is not a file, folder or link inside, or if it would unpack to too many bytes.
    """
    archive, folder = Path(archive), Path(folder)
    digest = sha256_of_file(archive) if sha256 else None
    if sha256 and digest != sha256.lower():
        raise UserError(
            f'{archive} has the SHA-256 {digest}, expected {sha256}; it was changed on the way or '
            f'on the server: fetch it again'
        )
    if max_bytes is None:
        max_bytes = max(MIN_SUSPECT_BYTES, MAX_RATIO * archive.stat().st_size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{folder.name}-', dir=folder.parent) as scratch:
        target = Path(scratch, 'new')
        target.mkdir()
        try:
            if zipfile.is_zipfile(archive):
                _extract_zip(archive, target, max_bytes)
            elif tarfile.is_tarfile(archive):
                _extract_tar(archive, target, max_bytes)
            else:
                raise UserError(f'{archive} is neither a zip nor a tar archive')
        except UserError:
            raise
        except Exception as error:  # zipfile and tarfile raise many kinds on damaged files
            raise UserError(f'{archive} is damaged: {error}; fetch it again') from error
        merge(target, folder)
    return folder


def _extract_zip(path: Path, target: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = ((entry, entry.filename, entry.file_size) for entry in archive.infolist())
        for entry in _checked(path, entries, max_bytes):
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f'{path} holds {entry.filename!r}, a link or device; refused')
            archive.extract(entry, target)


def _extract_tar(path: Path, target: Path, max_bytes: int) -> None:
    with tarfile.open(path) as archive:
        entries = ((entry, entry.name, entry.size) for entry in archive)
        for entry in _checked(path, entries, max_bytes):
            if entry.isfile() and (target / entry.name).is_symlink():
                raise UserError(f'{path} writes {entry.name!r} through a link; refused')
            try:
                archive.extract(entry, target, filter='data')
            except tarfile.FilterError as error:
                raise UserError(f'{path} is refused: {error}') from error


def _checked(path: Path, entries: Iterable[tuple[T, str, int]], max_bytes: int) -> Iterator[T]:
    """Yield entries with safe names and sizes; Python writes no more than an entry states."""
    for count, (entry, name, size) in enumerate(entries):
        if count >= MAX_ENTRIES:
            raise UserError(f'{path} holds more than {MAX_ENTRIES} entries; refused')
        inside = PurePosixPath(name.replace('\\', '/'))
        has_drive = name[1:2] == ':'
        if inside.is_absolute() or '..' in inside.parts or has_drive or '\0' in name:
            raise UserError(f'{path} holds {name!r}, which would be written outside; refused')
        max_bytes -= size
        if max_bytes < 0:
            raise UserError(
                f'{path} expands far beyond its size, like a zip bomb; if you trust it, give '
                f'max_bytes'
            )
        yield entry


def merge(source: Path, folder: Path) -> None:
    """Move the contents of a folder into another, replacing files of the same name."""
    for path in source.iterdir():
        to = folder / path.name
        if path.is_dir() and not path.is_symlink() and to.is_dir():
            merge(path, to)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if to.is_dir() and not to.is_symlink():
            shutil.rmtree(to)
        path.replace(to)
