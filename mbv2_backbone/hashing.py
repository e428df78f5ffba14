"""Hashes of files."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def sha256_of_file(path: str | PathLike[str]) -> str:
    """Return the SHA-256 of a file's content in lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
