"""What the tools share: messages of failures that name the file at fault, and how they start."""

import argparse
import gc
import os
import subprocess
import sys

import pytest
import torch
from common import USER_ERROR, run
from helpers.networks import our_backbone
from helpers.paths import ROOT
from mmengine.registry import Registry

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.load import load_into
from mbv2_backbone.weights.whole_model import load_weights

PARTS = Registry('part')


@PARTS.register_module()
class Part:
    def __init__(self):
        raise UserError('b.json is not JSON: line 3')


def inner():
    raise UserError('line 3 is not JSON')


def named():
    try:
        inner()
    except ValueError as error:
        raise UserError(f'a.json: {error}') from error


def hidden():
    try:
        inner()
    except ValueError:
        raise UserError('c.json cannot be read') from None


def wrapped_as_by_mmengine():
    # mmengine 0.10.7's build_from_cfg; onedl-mmengine raises the error itself.
    try:
        named()
    except Exception as error:
        raise type(error)(f'class `Part` in part.py: {error}')  # noqa: B904


def wrapped_in_another_type():
    try:
        named()
    except ValueError:
        raise KeyError('Part')  # noqa: B904


@pytest.mark.parametrize(
    ('main', 'message'),
    [
        (inner, 'line 3 is not JSON'),
        (named, 'a.json: line 3 is not JSON'),
        (hidden, 'c.json cannot be read'),
        (wrapped_as_by_mmengine, 'a.json: line 3 is not JSON'),
        (wrapped_in_another_type, 'a.json: line 3 is not JSON'),
        (lambda: PARTS.build(dict(type='Part')), 'b.json is not JSON: line 3'),
    ],
    ids=['inner', 'named', 'hidden', 'mmengine', 'other type', 'registry'],
)
def test_the_message_that_names_the_file_is_shown(main, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda _: main(), argparse.Namespace())
    assert stopped.value.code == USER_ERROR
    assert capsys.readouterr().err == f'error: {message}\n'


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda _: 1 / 0, argparse.Namespace())


def test_garbage_is_collected_after_an_import_that_failed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mbv2_backbone.common.messages', None)
    with pytest.raises(ImportError):
        run(lambda _: None, argparse.Namespace())
    assert gc.isenabled()


@pytest.mark.parametrize('load', [load_into, load_weights], ids=['backbone', 'whole model'])
def test_which_checkpoint_is_at_fault_is_said(tmp_path, capsys, load):
    path = tmp_path / 'theirs.pth'
    torch.save({'MobilenetV2/expanded_conv/depthwise/depthwise_weights': torch.ones(1)}, path)
    with pytest.raises(SystemExit):
        run(lambda _: load(our_backbone(), str(path)), argparse.Namespace())
    assert f'error: cannot load {path}: ' in capsys.readouterr().err


SHOWN = """
import os, sys
from common import restart_without_block_cache
print('begun', flush=True)
restart_without_block_cache()
print(os.environ.get('GLIBC_TUNABLES'), os.getpid(), sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc is on Linux')
@pytest.mark.parametrize(
    ('before', 'after', 'starts'),
    [
        (None, 'glibc.malloc.tcache_count=0', 2),
        ('glibc.malloc.arena_max=1', 'glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0', 2),
        ('glibc.malloc.tcache_count=5', 'glibc.malloc.tcache_count=5', 1),
    ],
)
def test_a_script_starts_anew_without_glibcs_block_cache(tmp_path, before, after, starts):
    script = tmp_path / 'train.py'
    script.write_text(SHOWN)
    environment = {k: v for k, v in os.environ.items() if k != 'GLIBC_TUNABLES'}
    environment |= {'GLIBC_TUNABLES': before} if before else {}
    environment['PYTHONPATH'] = str(ROOT / 'tools')
    process = subprocess.Popen(
        [sys.executable, '-u', str(script), 'a b', '--c'],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, _ = process.communicate()
    *begun, last = out.splitlines()
    assert begun == ['begun'] * starts
    assert last == f"{after} {process.pid} ['a b', '--c']"


def test_what_is_not_the_script_does_not_start_anew(tmp_path):
    (tmp_path / 'train.py').write_text(SHOWN)
    code = "import runpy, sys; sys.argv = ['train.py']; runpy.run_path('train.py')"
    out = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | {'PYTHONPATH': str(ROOT / 'tools'), 'GLIBC_TUNABLES': ''},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert out.count('begun') == 1
