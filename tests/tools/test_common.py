"""The message of a tool that fails is the one that says which file is at fault."""

import argparse

import pytest
import torch
from common import USER_ERROR, run
from helpers.networks import our_backbone
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


@pytest.mark.parametrize('load', [load_into, load_weights], ids=['backbone', 'whole model'])
def test_which_checkpoint_is_at_fault_is_said(tmp_path, capsys, load):
    path = tmp_path / 'theirs.pth'
    torch.save({'MobilenetV2/expanded_conv/depthwise/depthwise_weights': torch.ones(1)}, path)
    with pytest.raises(SystemExit):
        run(lambda _: load(our_backbone(), str(path)), argparse.Namespace())
    assert f'error: cannot load {path}: ' in capsys.readouterr().err
