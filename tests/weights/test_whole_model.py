"""`best` and `last` in place of a checkpoint's path."""

import os

import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.whole_model import LAST_CHECKPOINT, find_checkpoint


def write(folder, *names):
    paths = []
    for seconds, name in enumerate(names, 1):
        paths.append(folder / name)
        paths[-1].write_bytes(b'')
        os.utime(paths[-1], (seconds, seconds))
    return [str(path) for path in paths]


def test_best_and_last_stand_for_files(tmp_path):
    old, best, last = write(tmp_path, 'best_a_epoch_1.pth', 'best_a_epoch_3.pth', 'epoch_4.pth')
    assert find_checkpoint('best', tmp_path) == best
    assert find_checkpoint('last', tmp_path) == last
    (tmp_path / LAST_CHECKPOINT).write_text(old)
    assert find_checkpoint('last', tmp_path) == old


def test_any_other_name_is_a_path(tmp_path):
    for name in ('epoch_4.pth', 'work_dirs/best', './last'):
        assert find_checkpoint(name, tmp_path) == name


@pytest.mark.parametrize('name', ['best', 'last'])
def test_a_missing_checkpoint_is_reported(name, tmp_path):
    with pytest.raises(UserError, match=f'no {name} checkpoint .* found: none'):
        find_checkpoint(name, tmp_path / 'nothing')
    write(tmp_path, 'epoch_2.pth')
    if name == 'best':
        with pytest.raises(UserError, match=r'found: epoch_2\.pth'):
            find_checkpoint(name, tmp_path)
