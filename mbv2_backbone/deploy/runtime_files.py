"""What all runtimes share: importing a runtime, its errors, and the file beside a model."""

from __future__ import annotations

import json
import os.path as osp
from importlib import import_module
from types import ModuleType

from ..common.messages import UserError, first_line
from .metadata import Metadata

METADATA_FILE = 'metadata.json'  # in the files that hold others


def sidecar(path: str) -> str:
    """Return the path of the metadata of a file that cannot hold it itself."""
    return osp.splitext(path)[0] + '.json'


def write_sidecar(path: str, metadata: Metadata) -> None:
    """Write the metadata of a file beside it."""
    with open(sidecar(path), 'w', encoding='utf-8') as file:
        json.dump(metadata.to_strings(), file, indent=1)


def read_sidecar(path: str) -> Metadata:
    """Read what `write_sidecar` wrote.

    Raises:
        UserError: If it is missing or broken.
    """
    if not osp.isfile(sidecar(path)):
        raise UserError(f'{path} needs {sidecar(path)} next to it; tools/export.py wrote both')
    try:
        with open(sidecar(path), encoding='utf-8') as file:
            strings = json.load(file)
    except ValueError as error:
        raise broken(sidecar(path), error) from error
    return Metadata.from_strings(strings, path)


def import_runtime(name: str, package: str | None = None) -> ModuleType:
    """Import a runtime.

    Args:
        name: The module.
        package: What installs it; by default of the same name.

    Raises:
        UserError: If it cannot be imported; says what to install.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = package or name.split('.')[0]
        raise UserError(
            f'this file needs {package}, which cannot be imported ({error}): pip install {package}'
        ) from error


def broken(path: str, error: Exception) -> UserError:
    """Return the error for a file that a runtime does not load."""
    return UserError(
        f'{path} cannot be loaded; is it complete? {type(error).__name__}: '
        f'{first_line(error)[:300]}'
    )
