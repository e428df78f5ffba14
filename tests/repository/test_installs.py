"""Every supported Python installs without a compiler, also those that are not on this machine."""

import os
import subprocess
import sys
from importlib.metadata import distribution

import pytest
from helpers.paths import ROOT

sys.path.append(str(ROOT / 'tests' / 'matrix'))
from resolve import NO_WHEELS, requirements_of, resolve

# What `make test` hands on to a make that a test starts.
ENV = {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}
PYTHONS = ('3.10.13', '3.11.7', '3.12.1', '3.13.0', '3.14.0')
PINS = (ROOT / 'constraints.txt').read_text()


def test_what_has_no_wheels_has_nothing_to_compile():
    for name in NO_WHEELS:
        found = distribution(name)
        assert 'Root-Is-Purelib: true' in found.read_text('WHEEL')
        assert not [path for path in found.files if path.suffix in ('.so', '.pyd')]


@pytest.mark.slow
@pytest.mark.parametrize('extra', ['openmmlab', 'dev'])
@pytest.mark.parametrize('python', PYTHONS)
def test_wheels_for_every_python(python, extra, tmp_path):
    found, result = resolve(python, requirements_of(extra), tmp_path, PINS)
    assert result.returncode == 0, result.stderr[-2000:]
    assert f'torch=={found["torch"]}' in PINS


@pytest.mark.slow
@pytest.mark.parametrize(('python', 'has_wheel'), [('3.13.0', True), ('3.14.0', False)])
def test_numpy_of_the_other_pythons_needs_a_compiler_on_3_14(python, has_wheel, tmp_path):
    """NumPy 2.2.6 has wheels for CPython 3.10 to 3.13 in the package index."""
    found, result = resolve(python, ['numpy==2.2.6'], tmp_path, '')
    assert (result.returncode == 0) == has_wheel
    assert found == ({'numpy': '2.2.6'} if has_wheel else {})
    assert ('No matching distribution found for numpy==2.2.6' in result.stderr) != has_wheel


@pytest.mark.parametrize(
    ('version', 'said'),
    [((2, 7), 'too old'), ((3, 9), 'too old'), ((3, 15), 'too new'), ((4, 0), 'too new')],
)
@pytest.mark.parametrize('has_venv', [False, True])
def test_make_refuses_other_pythons_in_one_line(version, said, has_venv, tmp_path):
    for place in ('python', '.venv/bin/python')[: 1 + has_venv]:
        fake = tmp_path / place
        fake.parent.mkdir(parents=True, exist_ok=True)
        code = f'import sys; sys.version_info = {(*version, 1)}; exec(sys.argv[1])'
        fake.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{code}" "$@"\n')
        fake.chmod(0o755)
    for name in ('setup.cfg', 'setup.py', 'constraints.txt'):
        (tmp_path / name).touch()
    command = ['make', '-f', ROOT / 'Makefile', 'demo', f'PYTHON={tmp_path}/python']
    result = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True)
    assert result.returncode != 0
    told, make = result.stderr.splitlines()
    name = '.'.join(map(str, version))
    assert told.startswith(f'Python {name} is {said}: this installs on Python 3.10 to 3.14. ')
    assert 'make PYTHON=python3.13' in told
    assert 'Error' in make
    assert result.stdout == ''


def test_make_takes_this_python(tmp_path):
    command = ['make', '-f', ROOT / 'Makefile', '.venv/bin/python', f'PYTHON={sys.executable}']
    result = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / '.venv/bin/python').exists()
