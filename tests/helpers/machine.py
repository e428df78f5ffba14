"""What a machine may lack. What an installation must have is imported without a question."""

import os

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')


def skip_without(what):
    """Skip a test for what this machine lacks; fail it in CI, whose machine must have it."""
    if os.environ.get('CI'):
        pytest.fail(f'there is no {what}, and CI must have it')
    pytest.skip(f'there is no {what}')
