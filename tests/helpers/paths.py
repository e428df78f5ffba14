"""Paths in the repository."""

from pathlib import Path

ROOT = next(path for path in Path(__file__).resolve().parents if (path / 'setup.cfg').is_file())


def config_path(name):
    return str(ROOT / 'configs' / f'{name}.py')
