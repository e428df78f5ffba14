"""Padding to a grid of the output stride."""

import numpy as np
import pytest

from mbv2_backbone.seg.padding import PadToGrid


def test_padding_to_a_grid():
    results = PadToGrid(divisor=16, remainder=1, pad_val=(1, 2, 3))(
        dict(img=np.full((33, 40, 3), 9, np.uint8))
    )
    assert results['img'].shape == (33, 49, 3)
    assert results['padding_size'] == (0, 9, 0, 0)
    assert results['pad_shape'] == results['img_shape'] == (33, 49)
    assert (results['img'][:, 40:] == (1, 2, 3)).all()
    assert (results['img'][:, :40] == 9).all()
    with pytest.raises(ValueError, match='remainder must be within 0 and 15, got 16'):
        PadToGrid(divisor=16, remainder=16)
