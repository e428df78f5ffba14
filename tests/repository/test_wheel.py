"""The wheel: its content, and what works after `pip install` outside this repository."""

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT

import mbv2_backbone

FOLDERS = ('configs', 'mbv2_backbone', 'tests', 'tools')
ONE_BATCH = (
    'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False', 'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1',
)  # fmt: skip


def outside_the_repository():
    return {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | {'OMP_NUM_THREADS': '1'}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built from the source archive of a checkout that has caches and links."""
    folder = tmp_path_factory.mktemp('build')
    source = folder / 'source'
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    (source / 'tools' / '__pycache__').mkdir(exist_ok=True)
    (source / 'tools' / '__pycache__' / 'train.cpython-311.pyc').touch()
    stale = source / 'mbv2_backbone' / '.mim' / 'configs'
    shutil.rmtree(stale.parent, ignore_errors=True)
    stale.mkdir(parents=True)
    (stale / 'stale.py').touch()
    command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def site(wheel, tmp_path_factory):
    """A venv with the wheel, on top of the packages that the tests use."""
    folder = tmp_path_factory.mktemp('site')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    pip = [sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', 'install']
    pip += ['--quiet', '--no-deps', '--no-index', wheel]
    subprocess.run(pip, check=True, env=outside_the_repository())
    below = [path for path in sys.path if Path(path).name == 'site-packages']
    packages = next(folder.glob('lib/python*/site-packages'))
    (packages / 'below.pth').write_text('\n'.join(below))
    return folder


def run(site, cwd, *command):
    """Run a program of the venv in a place where the repository cannot be imported."""
    env = outside_the_repository()
    command = [site / 'bin' / command[0], *command[1:]]
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


def names_under(source, folder):
    paths = [path for path in (source / folder).rglob('*') if path.is_file()]
    return {str(p.relative_to(source)) for p in paths if not {'.mim', '__pycache__'} & {*p.parts}}


def test_the_wheel_holds_package_configs_and_tools_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    source = wheel.parent / 'source'
    tools = {name for name in names_under(source, 'tools') if not name.startswith('tools/measure/')}
    carried = names_under(source, 'configs') | tools | {'model-index.yml'}
    expected = {f'mbv2_backbone/.mim/{name}' for name in carried}
    assert names == expected | names_under(source, 'mbv2_backbone') | {'mbv2_cli.py'}


def test_every_config_is_in_the_model_index():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    files = [yaml.safe_load((ROOT / path).read_text()) for path in index['Import']]
    models = [model for file in files for model in file['Models']]
    listed = [model['Config'] for model in models]
    assert sorted(listed) == sorted(f'configs/{p.name}' for p in (ROOT / 'configs').glob('*.py'))
    assert [model['Name'] for model in models] == [Path(path).stem for path in listed]
    collections = {c['Name'] for file in files for c in file['Collections']}
    assert {model['In Collection'] for model in models} == collections


def test_an_editable_install_links_to_the_checkout(tmp_path):
    (tmp_path / 'mbv2_backbone').mkdir()
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'README.md', 'model-index.yml'):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / 'mbv2_backbone/__init__.py', tmp_path / 'mbv2_backbone')
    for name in ('configs', 'tools'):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / 'mbv2_cli.py', tmp_path)
    build = 'from setuptools.build_meta import build_editable; build_editable("built")'
    subprocess.run([sys.executable, '-c', build], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / 'configs' / 'added_later.py').touch()
    mim = tmp_path / 'mbv2_backbone' / '.mim'
    assert (mim / 'configs' / 'added_later.py').is_file()
    assert (mim / 'tools').resolve() == tmp_path / 'tools'


def test_help_and_version_of_the_command_load_no_torch(site, tmp_path):
    shown = run(site, tmp_path, 'mbv2')
    for tool in (ROOT / 'tools').glob('*.py'):
        text = tool.read_text()
        first = (ast.get_docstring(ast.parse(text)) or '').splitlines()[0]
        line = rf'^  {tool.stem.replace("_", "-")} +{re.escape(first)}$'
        assert bool(re.search(line, shown.stdout, re.M)) == text.startswith('#!'), line
    assert run(site, tmp_path, 'mbv2', '--version').stdout.split() == [mbv2_backbone.__version__]

    script = site / 'bin' / 'mbv2'
    helped = run(site, tmp_path, 'python', '-X', 'importtime', script, 'train', '--help')
    assert '--work-dir' in helped.stdout
    assert 'argparse' in helped.stderr
    assert 'torch' not in helped.stderr

    wrong = run(site, tmp_path, 'mbv2', 'trian')
    assert wrong.returncode == 2
    assert 'no tool trian' in wrong.stderr
    assert 'convert-weights' in wrong.stderr


@pytest.mark.parametrize(
    'command',
    [('benchmark', 'table', 'speed.json'), ('accuracy', 'table', '.')],
    ids=lambda command: command[0],
)
def test_measurements_say_in_one_line_that_they_need_a_checkout(site, tmp_path, command):
    done = run(site, tmp_path, 'mbv2', *command)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: ')
    assert f'tools/{command[0]}.py' in line
    assert 'checkout' in line


CONFIGS_AND_HUB = """
import sys
from pathlib import Path
from mmengine.config import Config

# As the tools of mmdet and mmseg do, which read a config before they import what it names.
foreign = Config.fromfile('foreign.py')
import mbv2_backbone
site = Path(sys.prefix)
assert site in Path(mbv2_backbone.__file__).parents
assert foreign.model.bbox_head.num_classes == 2

from mbv2_backbone.workbench.configs.read import load_config
from mmengine.registry import MODELS, init_default_scope
mine = load_config('mine.py')
assert mine.model.type == 'EncoderDecoder' and mine.work_dir == 'work_dirs/mine'
assert MODELS.build(mine.model).decode_head.num_classes == 3
assert load_config('ssdlite_mbv2_coco.py').filename.startswith(str(site))

from mmengine.hub import get_config, get_model
assert site in Path(get_config('mbv2_backbone::ssdlite_mbv2_coco.py').filename).parents
weights = get_config('mbv2_backbone::ssdlite_mbv2_coco_mmdet-taps.py', pretrained=True).model_path
assert weights.endswith('.pth')
for name, kind in (
    ('ssdlite_mbv2_coco', 'SSDLiteHead'),
    ('ssdlite-deeplabv3_mbv2_sample', 'SSDLiteHead'),
    ('deeplabv3_mbv2_sample', 'DeepLabV3Head'),
):
    init_default_scope('mmengine')
    model = get_model(f'mbv2_backbone::{name}.py')
    head = model.decode_head if kind == 'DeepLabV3Head' else model.bbox_head
    assert type(head).__name__ == kind
"""


@pytest.mark.slow
def test_configs_are_inherited_and_built_after_an_install(site, tmp_path):
    (tmp_path / 'mine.py').write_text(
        textwrap.dedent("""
        _base_ = 'mbv2_backbone::deeplabv3_mbv2_sample.py'
        classes = ('a', 'b', 'c')
        """)
    )
    (tmp_path / 'foreign.py').write_text(
        textwrap.dedent("""
        _base_ = __import__('mbv2_backbone').config_path('ssdlite_mbv2_coco.py')
        model = dict(bbox_head=dict(num_classes=2))
        """)
    )
    done = run(site, tmp_path, 'python', '-W', 'ignore', '-c', CONFIGS_AND_HUB)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_dataset_is_generated_and_trained_on_by_the_installed_command(site, tmp_path):
    drawn = run(site, tmp_path, 'mbv2', 'data', 'sample', '--num-train', '4', '--num-val', '2')
    assert drawn.returncode == 0, drawn.stderr
    config = 'ssdlite_mbv2_sample.py'
    trained = run(
        site,
        tmp_path,
        'python',
        '-m',
        'mbv2_backbone',
        'train',
        config,
        '--cfg-options',
        *ONE_BATCH,
    )
    assert trained.returncode == 0, trained.stderr
    work_dir = tmp_path / 'work_dirs' / 'ssdlite_mbv2_sample'
    assert (work_dir / 'epoch_1.pth').is_file()


def test_a_missing_config_is_refused_with_a_list_of_the_others():
    for name in ('nope.py', '../setup.py', str(ROOT / 'setup.py'), ''):
        with pytest.raises(ValueError, match=r'no config file .*ssdlite_mbv2_coco\.py'):
            mbv2_backbone.config_path(name)
    path = mbv2_backbone.config_path('_base_/deeplabv3_mbv2.py')
    assert Path(path).read_text() == (ROOT / 'configs/_base_/deeplabv3_mbv2.py').read_text()
