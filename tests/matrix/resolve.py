"""Ask pip what a Python that may not be on this machine would install, without a compiler.

Run it with a Python that has what the tests need: some of it is published as sources alone, pure
Python, and wheels with the metadata of what is installed stand for that.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[2]
NO_WHEELS = (
    'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation',
    'antlr4-python3-runtime',  # of executorch
)  # fmt: skip

# pip takes the wheels of another Python with --python-version, but the markers of this one, so
# they are set, too; so it is in pip 23.2 and 26.2.
_PIP = """
import sys
from pip._vendor.packaging import markers
from pip._internal.cli.main import main
here, version = markers.default_environment, sys.argv[1]
there = dict(python_full_version=version, python_version='.'.join(version.split('.')[:2]))
markers.default_environment = lambda: here() | there
sys.exit(main(['install', '--dry-run', '--quiet', '--disable-pip-version-check',
               '--ignore-installed', '--only-binary=:all:', '--python-version', version,
               *sys.argv[2:]]))
"""


def resolve(
    python: str, requirements: list[str], folder: Path, pins: str
) -> tuple[dict[str, str], subprocess.CompletedProcess]:
    """Resolve requirements for a Python from wheels alone.

    Args:
        python: Its full version, such as `3.14.0`.
        requirements: As pip takes them; see `requirements_of`.
        folder: For pip's files.
        pins: The content of a constraints file.

    Returns:
        The version of each package, by name; pip's process.
    """
    (folder / 'constraints.txt').write_text(pins, encoding='utf-8')
    for name in NO_WHEELS:
        _write_wheel(name, folder)
    report = folder / 'report.json'
    command = [sys.executable, '-c', _PIP, python, '--target', folder / 'x', '--report', report]
    command += ['--find-links', folder, '-c', folder / 'constraints.txt', *requirements]
    result = subprocess.run(command, capture_output=True, text=True)
    found = json.loads(report.read_text(encoding='utf-8')) if report.is_file() else {}
    metadata = [item['metadata'] for item in found.get('install', ())]
    return {item['name'].lower(): item['version'] for item in metadata}, result


def requirements_of(extra: str) -> list[str]:
    """Return what setup.cfg requires for an extra."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    wanted = setup['options']['install_requires'] + setup['options.extras_require'][extra]
    return list(filter(None, wanted.splitlines()))


def _write_wheel(name: str, folder: Path) -> None:
    """Write a wheel of an installed pure Python package, with its metadata alone."""
    found = distribution(name)
    stem = f'{name.replace("-", "_")}-{found.version}'
    with ZipFile(folder / f'{stem}-py3-none-any.whl', 'w') as wheel:
        for file in ('METADATA', 'WHEEL', 'RECORD'):
            wheel.writestr(f'{stem}.dist-info/{file}', found.read_text(file))
