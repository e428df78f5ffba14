"""Memory and open files over a training run: growth is found, and a real run is watched."""

import pytest
from helpers.paths import ROOT
from measure.speed.endurance import endurance_rows, growth, plot, verdict

from mbv2_backbone.common.messages import UserError

pytestmark = pytest.mark.runtime


def rows(memory, files):
    return [
        {'iteration': 10 * i + 10, 'memory MiB': memory(i), 'open files': files(i)}
        for i in range(100)
    ]


@pytest.mark.parametrize(
    ('memory', 'files', 'said'),
    [
        (lambda i: 500 + i % 3, lambda i: 20, 'stay level'),
        (lambda i: 100 if i < 20 else 500, lambda i: 9 + (i > 5), 'stay level'),
        (lambda i: 500 + i, lambda i: 20, 'memory keeps growing'),
        (lambda i: 500, lambda i: 20 + i // 30, 'the number of open files keeps growing'),
    ],
)
def test_growth_after_the_first_quarter_is_named(memory, files, said):
    assert said in verdict(rows(memory, files))


def test_growth_is_a_share_of_the_memory():
    share, files = growth(rows(lambda i: 1000 + i, lambda i: 3))
    assert share == pytest.approx(75 / 1062, rel=0.02)
    assert files == 0


def test_a_real_run_is_watched_to_its_end(sample_dataset, tmp_path):
    options = [
        f'data_root={sample_dataset}/',
        f'work_dir={tmp_path}',
        'train_dataloader.batch_size=2',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=9',
        'default_hooks.logger.interval=1',
    ]
    found = endurance_rows(
        str(ROOT / 'configs/ssdlite_mbv2_sample.py'), ROOT / 'tools/train.py', options
    )
    assert [row['iteration'] for row in found] == list(range(1, 25))
    assert all(row['memory MiB'] > 100 and row['open files'] > 2 for row in found)
    plot(found, str(tmp_path / 'curve.png'), 'a run')
    assert (tmp_path / 'curve.png').stat().st_size > 5000


def test_a_run_that_fails_shows_why(tmp_path):
    with pytest.raises(UserError, match='the data is not where the config expects it'):
        endurance_rows(
            str(ROOT / 'configs/ssdlite_mbv2_sample.py'),
            ROOT / 'tools/train.py',
            [f'data_root={tmp_path}/', f'work_dir={tmp_path}'],
        )
