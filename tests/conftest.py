import mbv2_backbone  # noqa: F401, I001  (before any toolbox, as users do)

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
