import mbv2_backbone  # noqa: F401, I001  (before any toolbox, as users do)

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def sample_set(tmp_path_factory):
    """A small generated set on disk, in COCO and VOC layout."""
    from mbv2_backbone.data.sample import generate_sample

    root = tmp_path_factory.mktemp('data') / 'sample'
    generate_sample(root, num_train=24, num_val=8, size=96)
    return root
