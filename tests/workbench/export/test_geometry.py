"""Input sizes and rules read from test pipelines with TensorFlow's resizing."""

import pytest
from mmdet.datasets.transforms import Resize
from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det import LegacyResize
from mbv2_backbone.workbench.export.geometry import read_geometry


def config(resize, **preprocessor):
    pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='PackDetInputs')]
    return Config(
        dict(
            model=dict(type='SingleStageDetector', data_preprocessor=preprocessor),
            test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline)),
        )
    )


@pytest.mark.parametrize(
    ('kind', 'interpolation', 'input_type'),
    [
        ('LegacyResize', 'legacy', 'float32'),
        ('mmdet.LegacyResize', 'legacy', 'float32'),
        (LegacyResize, 'legacy', 'float32'),
        ('Resize', 'bilinear', 'uint8'),
        (Resize, 'bilinear', 'uint8'),
    ],
)
def test_the_resize_of_the_pipeline_gives_the_rule(kind, interpolation, input_type):
    geometry = read_geometry(config(dict(type=kind, scale=(160, 96)), pad_size_divisor=32))
    assert geometry.input_size == geometry.resized_size == geometry.network_size == (96, 160)
    assert geometry.rules.fit == 'stretch'
    assert geometry.rules.interpolation == interpolation
    assert geometry.rules.input_type == input_type


def test_a_legacy_resize_is_not_exported_at_another_size():
    cfg = config(dict(type='LegacyResize', scale=(160, 96)))
    assert read_geometry(cfg, (96, 160)).rules.interpolation == 'legacy'
    with pytest.raises(UserError, match=r'whose input is \(96, 160\); leave out --size'):
        read_geometry(cfg, (128, 128))
    assert read_geometry(config(dict(type='Resize', scale=(160, 96))), (128, 128)) is not None
