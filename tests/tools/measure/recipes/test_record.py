"""Training records: digest, times, validations."""

import os
import time

import pytest
from measure.recipes.record import digest_of, seconds_of_runs, seconds_of_training, validations_of
from mmengine.config import Config


def test_the_seed_and_the_paths_are_not_settings():
    one = dict(model=dict(depth=1), work_dir='a', randomness=dict(seed=0))
    other = dict(model=dict(depth=1), work_dir='b')
    assert digest_of(Config(one)) == digest_of(Config(other))
    assert digest_of(Config(one)) != digest_of(Config(dict(model=dict(depth=2))))


def test_passes_over_the_images_by_epoch_and_by_iteration(sample_dataset):
    inner = dict(
        type='mmdet.VOCDataset', data_root=str(sample_dataset), ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''), metainfo=dict(classes=('disc',)),
    )  # fmt: skip
    cfg = Config(
        dict(
            train_dataloader=dict(
                batch_size=6, dataset=dict(type='RepeatDataset', times=4, dataset=inner)
            )
        )
    )
    rows = [dict(is_val=True, iter=8, mIoU=1.0), dict(is_val=True, iter=9, mIoU=float('nan'))]
    assert validations_of(rows, cfg) == [dict(epochs=2.0, iter=8, mIoU=1.0)]  # of 24 images
    rows[0]['epoch'] = 3
    assert validations_of(rows, cfg)[0]['epochs'] == 12


def test_time_of_one_training_and_of_all_runs(tmp_path):
    rows = [
        dict(is_val=False, iter=10, time=1.0),
        dict(is_val=True, iter=10, time=50.0),
        dict(is_val=False, iter=30, time=2.0),
    ]
    assert seconds_of_training(rows) == 50.0
    for name, seconds in (('20260102_030405', 7), ('20260102_040000', 5)):
        path = tmp_path / name / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.touch()
        end = time.mktime(time.strptime(name, '%Y%m%d_%H%M%S')) + seconds
        os.utime(path, (end, end))
    assert seconds_of_runs(tmp_path) == pytest.approx(12)
