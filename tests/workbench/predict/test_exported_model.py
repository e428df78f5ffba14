"""The test pipeline of a config whose model is an exported file."""

import numpy as np
import pytest
from mmdet.datasets.transforms import Resize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mbv2_backbone.det import LegacyResize
from mbv2_backbone.workbench.predict.exported_model import keep_image_size


@pytest.mark.parametrize(
    'kind', ['LegacyResize', 'mmdet.LegacyResize', LegacyResize, 'Resize', 'mmdet.Resize', Resize]
)
def test_a_file_that_resizes_itself_gets_images_as_they_are(kind):
    init_default_scope('mmdet')
    keys = ('ori_shape', 'img_shape', 'scale_factor')
    steps = [dict(type=kind, scale=(160, 96)), dict(type='PackDetInputs', meta_keys=keys)]
    dataset = dict(type='CocoDataset', pipeline=steps)
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dataset))))
    changed = keep_image_size().change(cfg)
    image = np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8)
    pipeline = Compose(changed.test_dataloader.dataset.dataset.pipeline)
    packed = pipeline(dict(img=image.copy(), img_shape=(33, 50), ori_shape=(33, 50)))
    assert np.array_equal(packed['inputs'].numpy(), image.transpose(2, 0, 1))
    assert packed['data_samples'].img_shape == (33, 50)
    assert packed['data_samples'].scale_factor == (1, 1)
