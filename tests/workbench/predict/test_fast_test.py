"""A test with the folded model and batches loaded ahead gives what a plain one gives."""

import pickle

import pytest
import torch
from helpers.networks import randomise
from helpers.small import write_small_config
from mmengine.registry import MODELS
from torch.utils.data import DataLoader

from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict import fast_test
from mbv2_backbone.workbench.predict.fast_test import FastTestHook, LoadedAhead
from mbv2_backbone.workbench.run import evaluate


@pytest.mark.parametrize('tta', [False, True])
def test_figures_and_predictions_equal_those_of_the_plain_model(
    sample_dataset, tmp_path, monkeypatch, tta
):
    config = write_small_config(tmp_path / 'small.py', sample_dataset)
    model = randomise(MODELS.build(load_config(str(config)).model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    folded = []
    fold = fast_test.folded_for
    monkeypatch.setattr(fast_test, 'folded_for', lambda *a: folded.append(fold(*a)) or folded[-1])

    def found(name):
        path = tmp_path / f'{name}.pkl'
        figures = evaluate(config, tmp_path / 'a.pth', work_dir=tmp_path, out=path, tta=tta)
        return figures, pickle.loads(path.read_bytes())

    figures, samples = found('fast')
    assert len(folded) == 1
    monkeypatch.setattr(FastTestHook, 'before_test_epoch', lambda *a, **k: None)
    monkeypatch.setattr(FastTestHook, 'after_test_epoch', lambda *a, **k: None)
    expected_figures, expected = found('plain')
    assert figures == pytest.approx(expected_figures, abs=1e-3)
    assert sum(len(sample['pred_instances']['scores']) for sample in expected) > 0
    for ours, theirs in zip(samples, expected, strict=True):
        assert ours['img_id'] == theirs['img_id']
        ours, theirs = ours['pred_instances'], theirs['pred_instances']
        torch.testing.assert_close(ours['scores'], theirs['scores'], rtol=0, atol=1e-4)
        # Boxes of nearly equal scores may change places.
        away = (ours['bboxes'][:, None] - theirs['bboxes']).abs().amax(-1)
        is_same = (away < 0.05) & (ours['labels'][:, None] == theirs['labels'])
        near = (ours['scores'][:, None] - theirs['scores']).abs() < 1e-4
        assert (is_same & near).any(0).float().mean() > 0.99


def test_batches_come_in_order_and_all_else_is_the_loaders():
    loader = DataLoader(list(range(7)), batch_size=2)
    ahead = LoadedAhead(loader)
    assert [batch.tolist() for batch in ahead] == [batch.tolist() for batch in loader]
    assert len(ahead) == 4
    assert ahead.dataset is loader.dataset
    with pytest.raises(AttributeError):
        ahead.nothing  # noqa: B018
