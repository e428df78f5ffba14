# ruff: noqa: I001
import os

# Tests run as the tools do; compat/test_plain_import.py tests an import in another program.
os.environ.setdefault('MBV2_BACKBONE_FAST_START', '1')
import mbv2_backbone  # noqa: F401  (before any toolbox, as users do)

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope='module', autouse=True)
def _no_scope_of_other_tests():
    # The last config that was loaded decides where registries look; files must not depend on it.
    DefaultScope._instance_dict.clear()


@pytest.fixture
def log():
    """The warnings of mmengine's logger."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture(scope='session')
def sample_set(tmp_path_factory):
    """A small generated set on disk, in COCO and VOC layout."""
    from mbv2_backbone.workbench.data.sample.sample import generate_sample

    root = tmp_path_factory.mktemp('data') / 'sample'
    generate_sample(root, num_train=24, num_val=8, size=96)
    return root
