#!/usr/bin/env python3
"""Install the wheel with each supported combination of versions, and use it.

    python tests/matrix/run.py                                  every row
    python tests/matrix/run.py py3.11-official                  one row
    python tests/matrix/run.py --table docs/compatibility.md    write the results into a page

Each row gets a venv under .matrix/, which is deleted once the row has passed.
The result is kept in docs/compatibility.json, with the end of the error message if the row failed.
A row whose Python is not on this machine keeps its result, or is only resolved where it never ran:
pip says what it would install from wheels.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

from measure.markdown import markdown_table, put_between  # noqa: E402

RESULTS = ROOT / 'docs' / 'compatibility.json'


COLUMNS = (  # title, and the names of the packages, of which one is installed
    ('Python', 'python'),
    ('torch', 'torch'),
    ('torchvision', 'torchvision'),
    ('mmengine', 'onedl-mmengine', 'mmengine'),
    ('mmcv', 'onedl-mmcv', 'mmcv-lite'),
    ('mmdet', 'onedl-mmdetection', 'mmdet'),
    ('mmseg', 'onedl-mmsegmentation', 'mmsegmentation'),
)


@dataclass(frozen=True)
class Row:
    """A combination; without `torch`, the newest that pip finds."""

    python: str
    stack: str  # an extra of setup.cfg
    torch: str = ''
    torchvision: str = ''

    @property
    def name(self) -> str:
        torch = f'-torch{self.torch}' if self.torch else ''
        return f'py{self.python}-{self.stack}{torch}'

    @property
    def requirements(self) -> list[str]:
        pins = [f'torch=={self.torch}.*', f'torchvision=={self.torchvision}.*']
        return pins if self.torch else []


ROWS = (
    Row('3.10', 'openmmlab'),
    Row('3.11', 'openmmlab'),
    Row('3.12', 'openmmlab'),
    Row('3.13', 'openmmlab'),
    Row('3.14', 'openmmlab'),
    Row('3.11', 'openmmlab', '2.6', '0.21'),
    Row('3.12', 'openmmlab', '2.9', '0.24'),
    Row('3.10', 'official', '2.6', '0.21'),
    Row('3.11', 'official'),
    Row('3.12', 'official'),
)


def find_python(version: str) -> str | None:
    """Return an interpreter of this version, from the path or pyenv."""
    versions = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'), 'versions')
    candidates = [*versions.glob(f'{version}.*/bin/python'), shutil.which(f'python{version}')]
    for candidate in filter(None, candidates):
        asked = subprocess.run([candidate, '--version'], capture_output=True, text=True)
        if asked.stdout.startswith(f'Python {version}.'):
            return str(candidate)
    return None


def try_row(row: Row, python: str) -> dict:
    """Build the wheel, install it into a bare venv and use it there; returns the outcome."""
    venv = ROOT / '.matrix' / row.name
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([python, '-m', 'venv', venv], check=True)
    pip = [venv / 'bin' / 'pip', '--quiet', '--disable-pip-version-check']
    wheel = venv / f'mbv2_backbone-{version()}-py3-none-any.whl'
    build = [*pip, 'wheel', '--no-deps', '--wheel-dir', venv, ROOT]
    install = [*pip, 'install', '--no-compile', f'{wheel}[{row.stack}]', *row.requirements]
    smoke = [venv / 'bin' / 'python', ROOT / 'tests' / 'matrix' / 'smoke.py']
    for command in (build, install, smoke):
        result = subprocess.run(command, cwd=venv, capture_output=True, text=True)
        if result.returncode != 0:
            print(' '.join(map(str, command)), 'ended with', result.returncode)
            print(result.stdout[-5000:], result.stderr[-5000:], sep='\n')
            return dict(row=row.name, passed=False, versions={}, error=last_lines(result.stderr))
    shutil.rmtree(venv)
    return dict(row=row.name, passed=True, versions=json.loads(result.stdout.splitlines()[-1]))


def resolve_row(row: Row) -> dict:
    """Ask pip what it would install with `constraints.txt`; returns the outcome."""
    from resolve import requirements_of, resolve

    python, pins = f'{row.python}.0', (ROOT / 'constraints.txt').read_text(encoding='utf-8')
    with tempfile.TemporaryDirectory() as folder:
        found, result = resolve(python, requirements_of(row.stack), Path(folder), pins)
    outcome = dict(row=row.name, passed=result.returncode == 0, is_resolved=True)
    if not outcome['passed']:
        return dict(outcome, versions={}, error=last_lines(result.stderr))
    names = ['numpy', 'opencv-python', *(name for _, *both in COLUMNS for name in both)]
    versions = {name: found[name] for name in names if name in found}
    return dict(outcome, versions=dict(python=row.python) | versions)


def version() -> str:
    """Return the package's version, without importing it."""
    text = (ROOT / 'mbv2_backbone' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE)[1]


def last_lines(text: str, count: int = 20) -> list[str]:
    """Return the end of an error message, without the hosts and folders of this machine."""
    text = text.replace(str(ROOT), '.').replace(str(Path.home()), '~')
    return [line for line in text.splitlines() if '://' not in line][-count:]


def load() -> dict[str, dict]:
    """Return the outcomes so far, by row."""
    return json.loads(RESULTS.read_text(encoding='utf-8')) if RESULTS.is_file() else {}


def table(outcomes: dict[str, dict]) -> str:
    """Return a Markdown table with a line for each row that was tried."""
    header = ('row', *(title for title, *_ in COLUMNS), '')
    lines = []
    for row in ROWS:
        if row.name not in outcomes:
            continue
        outcome = outcomes[row.name]
        found = outcome['versions']
        cells = [next((found[n] for n in names if n in found), '') for _, *names in COLUMNS]
        works = 'resolves, not run' if outcome.get('is_resolved') else 'works'
        lines.append([f'`{row.name}`', *cells, works if outcome['passed'] else 'fails'])
    return markdown_table(header, lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [row.name for row in ROWS]
    parser.add_argument('rows', nargs='*', metavar='ROW', help=', '.join(names))
    parser.add_argument('--table', metavar='FILE', help='only write the table, into this file')
    args = parser.parse_args()
    if unknown := set(args.rows) - set(names):
        parser.error(f'no row {", ".join(sorted(unknown))}; there are {", ".join(names)}')
    if args.table:
        put_between(args.table, 'compatibility', table(load()))
        return 0
    failed = []
    for row in ROWS:
        if args.rows and row.name not in args.rows:
            continue
        python = find_python(row.python)
        known = load().get(row.name)
        if python is None and known and not known.get('is_resolved'):
            print(f'{row.name}: skipped, no Python {row.python} on this machine', flush=True)
            continue
        outcome = try_row(row, python) if python else resolve_row(row)
        RESULTS.write_text(
            json.dumps({**load(), row.name: outcome}, indent=1) + '\n', encoding='utf-8'
        )
        print(f'{row.name}: {"passed" if outcome["passed"] else "FAILED"}', flush=True)
        if not outcome['passed']:
            failed.append(row.name)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
