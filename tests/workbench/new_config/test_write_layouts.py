"""Every layout goes through check, convert, new_config and a step of training."""

import shutil

import pytest
from helpers.layouts import BOXES, MASKS
from helpers.paths import ROOT

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.new_config.write import Choices, write_config
from mbv2_backbone.workbench.run import train

EXPORTED = ROOT / 'tests/data/exporters'
SMALL = Choices(width=0.35, size=64, passes=1, pretrained='none')
# The toolboxes read these as they are; all others are to be converted, which is said.
AS_THEY_ARE = ('cvat coco', 'roboflow coco', 'supervisely', 'fiftyone', 'cvat voc', 'in a folder')
AS_THEY_ARE += ('datumaro_coco_instances', 'datumaro_voc_detection', 'label_studio_coco')
AS_THEY_ARE += ('roboflow_coco', 'supervisely_coco')
TOOLS = sorted(path.name for path in EXPORTED.iterdir() if path.is_dir())


def one_step(root, task, tmp_path, monkeypatch):
    """Write a config and train its first step; return the losses."""
    from mmengine.hooks import LoggerHook

    losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses.append(outputs['loss'].item())
        raise StepDoneError

    monkeypatch.setattr(LoggerHook, 'after_train_iter', after_train_iter)
    written = write_config(str(root), task, out=str(tmp_path / 'config.py'), choices=SMALL)
    assert not written.report.stops_training
    options = [
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=2',
    ]
    with pytest.raises(StepDoneError):
        train(str(written.path), work_dir=str(tmp_path / 'work'), cfg_options=options)
    return losses


class StepDoneError(Exception):
    """The first step is over."""


@pytest.mark.slow
@pytest.mark.parametrize('name', [*TOOLS, *BOXES])
def test_boxes_of_every_layout_are_trained_on(name, tmp_path, monkeypatch):

    root = tmp_path / 'in'
    if name in BOXES:
        BOXES[name][0](root)
    else:
        shutil.copytree(EXPORTED / name, root)
    if name not in AS_THEY_ARE:
        with pytest.raises(UserError, match=r'tools/data\.py convert'):
            write_config(str(root), 'det', out=str(tmp_path / 'config.py'), choices=SMALL)
        convert(root, tmp_path / 'coco', to='coco')
        root = tmp_path / 'coco'
    (loss,) = one_step(root, 'det', tmp_path, monkeypatch)
    assert 0 < loss < 1000


@pytest.mark.slow
@pytest.mark.parametrize('name', MASKS)
def test_masks_of_every_layout_are_trained_on(name, tmp_path, monkeypatch):
    MASKS[name][0](tmp_path / 'in')
    (loss,) = one_step(tmp_path / 'in', 'seg', tmp_path, monkeypatch)
    assert 0 < loss < 1000
