"""Fixtures for every test, and the hooks that keep the runtimes apart."""
# ruff: noqa: I001

import os

# Tests run as the tools do; compat/test_plain_import.py tests an import in another program.
os.environ.setdefault('MBV2_BACKBONE_FAST_START', '1')
import mbv2_backbone  # noqa: F401  (before any toolbox, as users do)

import logging

import numpy as np
import pytest
import torch
from helpers.runtimes import (  # noqa: F401  (hooks and a fixture of pytest)
    pytest_collection_finish,
    pytest_collection_modifyitems,
    runtimes_where_they_are_marked,
)
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope='module', autouse=True)
def _no_scope_of_other_tests():
    # The last config loaded decides where registries look; no test file may depend on another's.
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
def sample_dataset(tmp_path_factory):
    """A small generated dataset on disk, in COCO and VOC format."""
    from mbv2_backbone.workbench.data.sample.sample import generate_sample

    root = tmp_path_factory.mktemp('data') / 'sample'
    generate_sample(root, num_train=24, num_val=8, size=96)
    return root


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope='module')
def narrow_weights():
    """The state dict of a torchvision MobileNetV2 of width 0.35 with random weights."""
    from helpers.networks import randomise
    from torchvision.models import mobilenet_v2

    return randomise(mobilenet_v2(width_mult=0.35)).state_dict()


@pytest.fixture(scope='module')
def joint(sample_dataset, tmp_path_factory):
    """Config, checkpoint and config options of a small joint model."""
    from helpers.deploy import JOINT, write_config

    folder = tmp_path_factory.mktemp('joint')
    return write_config(folder, JOINT, 'ssdlite-deeplabv3_mbv2_sample', sample_dataset)


@pytest.fixture(scope='module')
def page(joint):
    """The web page of a joint model, served by `tools/predict.py`."""
    from helpers.serve import serving

    with serving(*joint) as page:
        yield page


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    """A headless Chromium."""
    from helpers.browser import start_browser

    browser = start_browser(tmp_path_factory.mktemp('profile'))
    yield browser
    browser.quit()


@pytest.fixture(scope='module')
def image_file(tmp_path_factory):
    """A PNG file to upload to the web page."""
    from helpers.serve import save_image

    return save_image(tmp_path_factory.mktemp('image'))


@pytest.fixture
def archive_server(monkeypatch):
    """A web server with the small dataset archives, the only ones that `fetch` knows."""
    from helpers.fetch import small_site

    with small_site(monkeypatch) as server:
        yield server


@pytest.fixture
def no_network(monkeypatch):
    """New configs start from weights on disk alone."""
    from mbv2_backbone.weights.sources import fetch
    from mbv2_backbone.workbench.new_config import initial_weights

    def fetch_local(address):
        if '://' in str(address):
            raise RuntimeError(
                f'could not download {address} (no network in this test). Ask for it'
            )
        return fetch(address)

    monkeypatch.setattr(initial_weights, 'fetch', fetch_local)
