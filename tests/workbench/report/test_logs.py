"""Metrics from logs, and their curves."""

import json

import cv2
import pytest

from mbv2_backbone.workbench.report.curves import draw_curves, panels
from mbv2_backbone.workbench.report.logs import curve, newest_log, read_scalars
from mbv2_backbone.workbench.report.provenance import training_in
from mbv2_backbone.workbench.report.style import save_figure


def write_log(folder, rows, *, resumed=False):
    data = folder / 'vis_data'
    data.mkdir(parents=True)
    data.joinpath('scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n{"cut')
    data.joinpath('config.py').write_text(f'resume = {resumed}\n')


def step(i, **figures):
    return dict(lr=0.1, loss=10.0 / i, iter=i, epoch=1 + i // 10, step=i, **figures)


def test_a_log_is_read_from_the_start_of_a_training_that_was_resumed(tmp_path):
    assert read_scalars(tmp_path) == []
    assert newest_log(tmp_path) is None
    write_log(tmp_path / '20260101_000000', [step(5)])
    write_log(
        tmp_path / '20260102_000000',
        [step(10), {'coco/bbox_mAP': 0.25, 'step': 1}, step(20), step(30)],
    )
    write_log(
        tmp_path / '20260103_000000',
        [step(25), {'coco/bbox_mAP': 0.5, 'time': float('nan'), 'step': 3}],
        resumed=True,
    )
    (tmp_path / '20260104_000000' / 'vis_data').mkdir(parents=True)
    (tmp_path / '20260104_000000' / 'vis_data' / 'scalars.json').touch()  # from a test
    rows = read_scalars(tmp_path)
    assert newest_log(tmp_path).parts[-3] == '20260103_000000'
    assert curve(rows, 'loss') == ([10, 20, 25], [1.0, 0.5, 0.4])
    assert curve(rows, 'coco/bbox_mAP') == ([10, 25], [0.25, 0.5])
    assert [row['epoch'] for row in rows if row['is_val']] == [2, 3]
    assert curve(rows, 'time') == ([], [])


def epochs(first, last):
    """Write the log of a training of 10 steps per epoch, with a validation after each."""
    for epoch in range(first, last + 1):
        yield from (step(10 * epoch - 5), step(10 * epoch), validation(epoch))


def validation(epoch):
    return {'coco/bbox_mAP': epoch / 10, 'step': epoch}


@pytest.mark.parametrize('num_more', [0, 3])
def test_a_resumed_log_that_begins_with_a_validation(tmp_path, num_more):
    """It is repeated if the training stopped in it; earlier rows must stay."""
    *whole, _ = epochs(1, 3)
    write_log(tmp_path / '1', whole)
    write_log(tmp_path / '2', [validation(3), *epochs(4, 3 + num_more)], resumed=True)
    rows = read_scalars(tmp_path)
    expected = list(epochs(1, 3 + num_more))
    assert [row['step'] for row in rows] == [row['step'] for row in expected]
    validated = list(range(1, 4 + num_more))
    assert curve(rows, 'coco/bbox_mAP') == (
        [10 * epoch for epoch in validated],
        [epoch / 10 for epoch in validated],
    )
    assert curve(rows, 'loss')[0] == list(range(5, 31 + 10 * num_more, 5))


def test_repeated_validations_occur_once(tmp_path):
    write_log(tmp_path / '1', epochs(1, 5))
    write_log(tmp_path / '2', epochs(3, 3), resumed=True)
    assert [row['step'] for row in read_scalars(tmp_path)] == [row['step'] for row in epochs(1, 3)]


def test_the_log_beside_the_checkpoint_is_preferred(tmp_path):
    trained, work_dir = tmp_path / 'trained', tmp_path / 'eval'
    assert training_in(trained, work_dir) == dict(log=None, scalars=[])
    write_log(work_dir / '1', [step(7)])
    assert [row['iter'] for row in training_in(trained, work_dir)['scalars']] == [7]
    write_log(trained / '1', [step(8)])
    training = training_in(trained, work_dir)
    assert [row['iter'] for row in training['scalars']] == [8]
    assert training['log'] == str(trained / '1/vis_data/scalars.json')


def test_curves_show_losses_means_and_rates_and_not_the_classes(tmp_path):
    figures = {
        'coco/disc_precision': 0.1, 'coco/bbox_mAP': 0.2, 'coco/bbox_mAP_l': -1.0,
        'seg/mIoU': 50.0, 'seg/IoU/disc': 40.0, 'time': 0.1, 'step': 1,
    }  # fmt: skip
    write_log(tmp_path / '1', [step(10, **{'decode.loss_ce': 0.3, 'time': 1.0}), figures, step(20)])
    rows = read_scalars(tmp_path)
    assert panels(rows) == [
        ('loss', ['loss', 'decode.loss_ce'], True),
        ('validation coco', ['coco/bbox_mAP'], False),
        ('validation seg', ['seg/mIoU'], False),
        ('learning rate', ['lr'], False),
    ]
    save_figure(draw_curves(rows), tmp_path / 'curves.png')
    plot = cv2.imread(str(tmp_path / 'curves.png'))
    assert plot.shape[0] > 600
    assert plot.std() > 10
    assert draw_curves([]) is None
