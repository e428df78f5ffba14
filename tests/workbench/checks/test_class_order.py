"""A checkpoint whose classes are those of the config in another order is refused."""

from dataclasses import replace

import pytest
import torch
from helpers.small import write_small_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.whole_model import read_weights
from mbv2_backbone.workbench.checks.class_order import check_class_order
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.export import export
from mbv2_backbone.workbench.predict.file_predictor import FilePredictor
from mbv2_backbone.workbench.run import evaluate, train

NAMES = ('disc', 'square', 'triangle', 'star')
OTHER_ORDER = ('star', 'square', 'triangle', 'disc')


@pytest.fixture(scope='module')
def trained(sample_dataset, tmp_path_factory):
    """A config, and the checkpoint of a short run with it."""
    folder = tmp_path_factory.mktemp('class_order')
    path = write_small_config(folder / 'small.py', sample_dataset)
    options = ['train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=2']
    train(str(path), work_dir=str(folder), cfg_options=options)
    return str(path), str(folder / 'epoch_1.pth')


def options_of(names):
    return [f'classes=({",".join(names)})']


def test_the_order_is_refused_wherever_a_checkpoint_predicts(trained, tmp_path):
    config, checkpoint = trained
    swapped = options_of(OTHER_ORDER)
    said = r'epoch_1\.pth was trained with the classes disc, square.* the config has star, square'
    with pytest.raises(UserError, match=said):
        FilePredictor(load_config(config, swapped), checkpoint, score_thr=0.3)
    with pytest.raises(UserError, match=said):
        evaluate(config, checkpoint, work_dir=str(tmp_path), cfg_options=swapped)
    with pytest.raises(UserError, match=said):
        export(config, checkpoint, to='torch-export', out=str(tmp_path), cfg_options=swapped)


def summary(config, names):
    return summarise(load_config(config, options_of(names)))


@pytest.mark.parametrize(
    ('names', 'warned'),
    [(NAMES, False), (('disco', 'square', 'triangle', 'star'), True), (NAMES[:3], True)],
)
def test_other_names_are_a_warning(trained, names, warned, monkeypatch):
    config, checkpoint = trained
    said = []
    monkeypatch.setattr('mbv2_backbone.workbench.checks.class_order.warn', said.append)
    check_class_order(checkpoint, read_weights(checkpoint)[1], summary(config, names))
    assert len(said) == warned
    assert not warned or 'Predictions get the names of the config' in said[0]


def test_joint_models_have_two_lists(trained):
    config, _ = trained
    both = summary(config, NAMES)
    joint = replace(both, task='joint', masks=replace(both.boxes, names=('a', 'b')))
    meta = dict(dataset_meta=dict(classes=NAMES, seg_classes=('b', 'a')))
    with pytest.raises(UserError, match='the first that differs: b'):
        check_class_order('joint.pth', meta, joint)


@pytest.mark.parametrize('saved', [dict(), dict(meta=dict()), dict(meta=dict(dataset_meta=None))])
def test_a_checkpoint_that_does_not_say_is_taken(trained, tmp_path, saved):
    config, _ = trained
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict={'a': torch.ones(1)}, **saved), path)
    check_class_order(path, read_weights(path)[1], summary(config, OTHER_ORDER))
