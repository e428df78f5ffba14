"""An interrupted validation is repeated on resume: no metric and no best checkpoint is lost."""

import subprocess
import sys

import pytest
from helpers.resume import (
    VALIDATION,
    assert_same,
    environment,
    final_checkpoint,
    scalars,
    states,
    toy_config,
    train_toy,
)

from mbv2_backbone.weights.whole_model import newest_resumable

# Processes are forked before torch has started threads, and killed in the middle of a validation.
KILLED_IN_VALIDATION = """
import os, sys
import mbv2_backbone
from helpers.resume import VALIDATION, KillInValidation, toy_config, train_toy

for case in sys.argv[1:]:
    folder, by_epoch, length, after = case.split(',')
    process = os.fork()
    if process == 0:
        options = dict(by_epoch=by_epoch == 'True', length=int(length), **VALIDATION)
        train_toy(toy_config(folder, **options), hooks=[KillInValidation(int(after))])
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""
VALIDATION_CUTS = [(True, 3, 8), (True, 3, 12), (False, 5, 3), (False, 5, 5)]


@pytest.fixture(scope='module')
def killed_in_validation(tmp_path_factory):
    """Work directories by kind of loop, length and the iteration after which the run was killed."""
    folders = {case: tmp_path_factory.mktemp('killed') for case in VALIDATION_CUTS}
    cases = [','.join(map(str, (folder, *case))) for case, folder in folders.items()]
    result = subprocess.run(
        [sys.executable, '-c', KILLED_IN_VALIDATION, *cases],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.stdout.split()[-4:] == ['-9'] * 4, result.stderr[-3000:]
    return folders


def assert_repeats_the_validation(cut, whole, options):
    """Resume a run interrupted in a validation, and compare it with an uninterrupted one."""
    whole_cfg, cut_cfg = (toy_config(folder, **options) for folder in (whole, cut))
    train_toy(whole_cfg)
    train_toy(cut_cfg, resume=newest_resumable(cut, pytest.fail))
    assert len(set(scalars(whole, 'mean'))) == options['length']
    assert scalars(cut, 'mean') == scalars(whole, 'mean')
    best = [sorted(path.name for path in folder.glob('best_*.pth')) for folder in (cut, whole)]
    assert best[0] == best[1]
    assert len(best[0]) == 1
    assert_same(cut / best[0][0], states(whole / best[0][0]))
    assert_same(final_checkpoint(cut_cfg), states(final_checkpoint(whole_cfg)))


@pytest.mark.parametrize('case', VALIDATION_CUTS)
def test_a_validation_cut_off_by_a_kill_is_repeated(killed_in_validation, tmp_path, case):
    by_epoch, length, _ = case
    options = dict(by_epoch=by_epoch, length=length, **VALIDATION)
    assert_repeats_the_validation(killed_in_validation[case], tmp_path, options)


@pytest.mark.parametrize('case', VALIDATION_CUTS)
def test_a_validation_cut_off_by_a_signal_is_repeated(tmp_path, case):
    by_epoch, length, after = case
    options = dict(by_epoch=by_epoch, length=length, **VALIDATION)
    with pytest.raises(SystemExit):
        train_toy(toy_config(tmp_path / 'cut', **options), stop_in_val=after)
    assert_repeats_the_validation(tmp_path / 'cut', tmp_path / 'whole', options)


def test_a_finished_validation_is_not_repeated(tmp_path):
    """The best checkpoint so far is written once more, after its validation."""
    runner = train_toy(toy_config(tmp_path, length=2, **VALIDATION))
    best = runner.message_hub.get_info('best_ckpt')
    means = scalars(tmp_path, 'mean')
    epoch = 1 + means.index(max(means))
    assert best == f'{tmp_path}/best_mean_epoch_{epoch}.pth'
    path = f'{tmp_path}/epoch_{epoch}.pth'
    train_toy(toy_config(tmp_path / 'more', length=epoch + 1, **VALIDATION), resume=path)
    assert len(scalars(tmp_path / 'more', 'mean')) == 1
