"""Classes that the model and the data disagree on stop a run before its first step."""

import pytest
from helpers.paths import ROOT
from mmengine.config import ConfigDict

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.before_run import check_classes
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise

DETECTION = 'ssdlite_mbv2_sample'
SEGMENTATION = 'deeplabv3_mbv2_sample'
JOINT = 'ssdlite-deeplabv3_mbv2_sample'


def _sample(name):
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
    return cfg, summarise(cfg)


@pytest.mark.parametrize(
    ('name', 'head', 'key'),
    [
        (DETECTION, 'bbox_head', 'classes'),
        (SEGMENTATION, 'decode_head', 'classes'),
        (JOINT, 'bbox_head', 'classes'),
        (JOINT, 'decode_head', 'seg_classes'),
    ],
)
def test_each_head_is_held_to_its_own_classes(name, head, key):
    cfg, summary = _sample(name)
    check_classes(cfg, summary, ('train', 'test'))
    cfg.model[head].num_classes = 7
    with pytest.raises(UserError, match=rf'predicts 7 classes.*put one `{key} = '):
        check_classes(cfg, summary, ('train', 'test'))


@pytest.mark.parametrize('name', [DETECTION, SEGMENTATION, JOINT])
def test_an_exported_file_has_no_head_to_hold(name):
    """Its classes were compared with the data's when it took the place of the model."""
    cfg, summary = _sample(name)
    cfg.model = ConfigDict(type='ExportedModel', _scope_='mmengine', path='model.onnx')
    check_classes(cfg, summary, ('test',))
