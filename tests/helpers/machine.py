"""Skip tests for what a machine may lack; packages of the extra `dev` are always there."""

import os

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')


def skip_without(what):
    """Skip a test for what this machine lacks; fail it in CI, where it must be installed."""
    if os.environ.get('CI'):
        pytest.fail(f'there is no {what}, and CI must have it')
    pytest.skip(f'there is no {what}')
