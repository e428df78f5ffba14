"""Every supported Python installs without a compiler, also those that are not on this machine."""

import configparser
import subprocess
import sys
from importlib.metadata import distribution, requires

import pytest
from helpers.paths import ROOT

PYTHONS = ('3.10.13', '3.11.7', '3.12.1', '3.13.0', '3.14.0')
NO_WHEELS = ('onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation')  # pure Python, as sources

# pip takes the wheels of another Python with --python-version, but the markers of this one
# (pip 26.2; https://pip.pypa.io/en/stable/cli/pip_install/ says so), so they are set, too.
PIP = """
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


def requirements(extra):
    """Return what the package and an extra need; sources give way to what they need."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    wanted = setup['options']['install_requires'] + setup['options.extras_require'][extra]
    lines = list(filter(None, wanted.splitlines()))
    named = [line.partition('>=')[0] for line in lines]
    inner = [need for name in NO_WHEELS if name in named for need in requires(name)]
    kept = [line for line, name in zip(lines, named, strict=True) if name not in NO_WHEELS]
    return [*kept, *(need for need in inner if 'extra' not in need and 'onedl' not in need)]


def resolve(version, extra, folder, constraints=None):
    pins = constraints or (ROOT / 'constraints.txt').read_text()
    pins = [line for line in pins.splitlines() if not line.startswith(NO_WHEELS)]
    (folder / 'constraints.txt').write_text('\n'.join(pins))
    arguments = ['--target', folder / 'x', '-c', folder / 'constraints.txt', *requirements(extra)]
    return subprocess.run(
        [sys.executable, '-c', PIP, version, *arguments], capture_output=True, text=True
    )


def test_the_toolboxes_have_nothing_to_compile():
    for name in NO_WHEELS:
        found = distribution(name)
        assert 'Root-Is-Purelib: true' in found.read_text('WHEEL')
        assert not [path for path in found.files if path.suffix in ('.so', '.pyd')]


@pytest.mark.slow
@pytest.mark.parametrize('extra', ['openmmlab', 'dev'])
@pytest.mark.parametrize('version', PYTHONS)
def test_wheels_for_every_python(version, extra, tmp_path):
    result = resolve(version, extra, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
def test_the_versions_of_others_need_a_compiler_on_3_14(tmp_path):
    """NumPy 2.2.6 has no wheel for CPython 3.14, as its files in the package index show."""
    result = resolve('3.14.0', 'openmmlab', tmp_path, 'numpy==2.2.6')
    assert result.returncode != 0
    assert 'numpy==2.2.6' in result.stderr
