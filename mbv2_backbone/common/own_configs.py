"""Find the configs of this project: in the installed package, or in a checkout."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from .messages import UserError

PREFIX = 'mbv2_backbone::'
_PACKAGE = Path(__file__).parents[1]


def configs_folder() -> Path:
    """Return the folder of the configs; in an installed package it is where mim looks for it."""
    installed = _PACKAGE / '.mim' / 'configs'
    return installed if installed.is_dir() else _PACKAGE.parent / 'configs'


def is_installed() -> bool:
    """Return whether the configs are copies in an installed package, not those of a checkout."""
    return configs_folder().resolve().is_relative_to(_PACKAGE.resolve())


def config_path(name: str) -> str:
    """Return the file of a config of this project.

    Args:
        name: Such as `ssdlite_mbv2_coco.py` or `_base_/deeplabv3_mbv2.py`.

    Raises:
        UserError: If there is no such config.
    """
    folder = configs_folder()
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        names = sorted(p.name for p in folder.glob('*.py'))
        close = get_close_matches(Path(name).name, names)
        meant = f'did you mean {" or ".join(close)}? ' if close else ''
        raise UserError(
            f'no config file {name}; {meant}those of this project are {", ".join(names)} ({folder})'
        )
    return str(path)
