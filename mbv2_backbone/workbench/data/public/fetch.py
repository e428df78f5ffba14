"""Download, check and unpack a dataset of the catalogue to where the configs expect it."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ....common.downloads import download, size_so_far
from ....common.files import sha256_of_file
from ....common.messages import UserError
from ..names import read_names
from .archives import extract
from .catalogue import CATALOGUE, Archive

_OWN_FILES = 'archives'


def fetch(
    name: str, out: str | PathLike[str], *, mirror: str = '', keep_archives: bool = False
) -> bool:
    """Download the missing parts of a dataset to where the configs expect it.

    A file that the user has put into `<out>/archives` is used and kept. Downloading and
    unpacking happen in `<out>/fetching-<name>`; what an interrupted call leaves there is used by
    the next one. Only one process at a time writes to a folder; the lock file next to it is kept,
    as removing it would let two in.

    Args:
        name: A name in `catalogue.CATALOGUE`.
        out: The folder of all datasets, `data` in the configs.
        mirror: Where the archives are available by name, instead of the published addresses.
        keep_archives: Move the downloads to `<out>/archives` instead of deleting them.

    Returns:
        Whether anything was missing.

    Raises:
        UserError: If the name is unknown, the disk is too small, a file cannot be downloaded (it
            says what to download from where and where to put it) or differs from the published one.
    """
    if name not in CATALOGUE:
        raise UserError(f'no dataset {name!r} to fetch; there are {", ".join(CATALOGUE)}')
    if mirror and not mirror.startswith(('http://', 'https://')):
        raise UserError(f'the mirror must begin with http:// or https://, not be {mirror!r}')
    job = _Job(Path(out), Path(out) / f'fetching-{name}', mirror, keep_archives)
    if not job.missing(name):
        return False

    from filelock import FileLock, Timeout

    folder = CATALOGUE[name][0].folder
    job.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.out / f'.{folder.replace("/", "-")}.lock', timeout=0):
            missing = job.missing(name)  # another process may have fetched it in the meantime
            if missing:
                _add_all(missing, job)
    except Timeout:
        raise UserError(f'another process is fetching to {job.out / folder}; wait for it') from None
    return bool(missing)


@dataclass(frozen=True)
class _Job:
    out: Path
    work: Path
    mirror: str
    keep_archives: bool

    def missing(self, name: str) -> list[Archive]:
        return [one for one in CATALOGUE[name] if not is_complete(one, self.out / one.folder)]

    def find(self, archive: Archive) -> Path | None:
        for folder in (self.out / _OWN_FILES, self.work):
            if (folder / archive.name).is_file():
                return folder / archive.name
        return None

    def addresses(self, archive: Archive) -> tuple[str, ...]:
        if self.mirror:
            return (f'{self.mirror.rstrip("/")}/{archive.name}',)
        return archive.addresses


def _add_all(missing: Sequence[Archive], job: _Job) -> None:
    job.work.mkdir(exist_ok=True)
    try:
        _check_space(missing, job)
        for count, archive in enumerate(missing):
            _add(archive, missing[count:], job)
        shutil.rmtree(job.work)
    finally:
        with suppress(OSError):  # what the next call can use is kept
            job.work.rmdir()


def is_complete(archive: Archive, folder: Path) -> bool:
    """Return whether all files that an archive adds to a folder exist."""
    return (
        all(
            (folder / path).is_file() and len(read_names(folder / path)) >= number
            for path, number in archive.lists.items()
        )
        and all(path.is_file() for path in _listed_files(archive, folder))
        and all(
            len(list(folder.glob(pattern))) >= number for pattern, number in archive.counts.items()
        )
    )


def _listed_files(archive: Archive, folder: Path) -> Iterator[Path]:
    for path in archive.lists:
        for name in read_names(folder / path):
            yield from (folder / template.format(name) for template in archive.files)


def hash_of_content(archive: Archive, folder: Path) -> str:
    """Return one SHA-256 for the lists of an archive and the files they name.

    It is computed over lines of the path in the folder, a space and the SHA-256 of the file,
    sorted by path.
    """
    paths = {folder / path for path in archive.lists} | set(_listed_files(archive, folder))
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f'{path.relative_to(folder).as_posix()} {sha256_of_file(path)}\n'.encode())
    return digest.hexdigest()


def _check_space(missing: Sequence[Archive], job: _Job) -> None:
    sizes = [
        archive.size - size_so_far(job.work / f'{archive.name}.part')
        for archive in missing
        if job.find(archive) is None
    ]
    at_once = sum(sizes) if job.keep_archives else max(sizes, default=0)
    needed = at_once + sum(archive.unpacked for archive in missing)
    free = shutil.disk_usage(job.out).free
    if free < needed:
        raise UserError(
            f'this needs about {_in_words(needed)} on the disk of {job.out}, which has '
            f'{_in_words(free)} free; free some space or give another folder with --out'
        )


def _in_words(size: int) -> str:
    return f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.0f} MB'


def _add(archive: Archive, missing: Sequence[Archive], job: _Job) -> None:
    path = job.find(archive)
    if path is None:
        path = _download(archive, missing, job)
    if path.parent != job.work:
        if problem := _what_is_wrong(path, archive):
            raise UserError(f'{path}: {problem}; delete it to have it downloaded')
        _unpack(archive, path, job)
        return
    try:
        _unpack(archive, path, job)
    except UserError:
        path.unlink()
        raise
    if job.keep_archives:
        (job.out / _OWN_FILES).mkdir(exist_ok=True)
        path.replace(job.out / _OWN_FILES / path.name)
    else:
        path.unlink()


def _download(archive: Archive, missing: Sequence[Archive], job: _Job) -> Path:
    """Return the file, downloaded from the first address that has it."""
    part = job.work / f'{archive.name}.part'
    problems = []
    for address in job.addresses(archive):
        if not archive.sha256:  # parts from two addresses could differ unnoticed
            part.unlink(missing_ok=True)
        try:
            download(address, part, name=archive.name)
        except OSError as error:
            problems.append(f'  {address}: {error}')
            continue
        problem = _what_is_wrong(part, archive)
        if not problem:
            return part.replace(job.work / archive.name)
        problems.append(f'  {address}: {problem}')
        part.unlink()
    raise UserError(
        '\n'.join(
            [
                f'could not download {archive.name}:',
                *problems,
                f'If this machine has no network, download these files elsewhere, put them into '
                f'{job.out / _OWN_FILES} and run this again:',
                *(_how_to_get(one) for one in missing if job.find(one) is None),
            ]
        )
    )


def _how_to_get(archive: Archive) -> str:
    check = f'SHA-256 {archive.sha256}' if archive.sha256 else 'no hash: packed on request'
    lines = [f'  {archive.name}, about {_in_words(archive.size)}, {check}']
    return '\n'.join([*lines, *(f'    {address}' for address in archive.addresses)])


def _what_is_wrong(path: Path, archive: Archive) -> str:
    if not archive.sha256:
        return '' if zipfile.is_zipfile(path) else 'this is not a complete zip archive'
    print(f'{archive.name}: checking', flush=True)
    digest = sha256_of_file(path)
    return '' if digest == archive.sha256 else f'its SHA-256 is {digest}, not {archive.sha256}'


def _unpack(archive: Archive, path: Path, job: _Job) -> None:
    print(f'{archive.name}: unpacking', flush=True)
    scratch = job.work / 'unpacked'
    if scratch.exists():
        shutil.rmtree(scratch)
    extract(path, scratch)
    root = next(scratch.glob(archive.inside), None) if archive.inside else scratch
    if root is None:
        raise UserError(f'{path} has no folder {archive.inside}; it is another archive')
    expected = archive.content_sha256
    if expected and not (is_complete(archive, root) and hash_of_content(archive, root) == expected):
        raise UserError(f'{path} does not hold the files that were published; fetch it again')
    folder = job.out / archive.folder
    archive.install(root, folder)
    if not is_complete(archive, folder):
        raise UserError(f'files are missing in {folder} after unpacking {path}; fetch it again')
