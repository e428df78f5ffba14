"""Benchmark: scaling with the model, and start-up time."""

import re
import sys
import time
from pathlib import Path

import pytest
from helpers.bench import SIZE, config
from helpers.paths import ROOT
from measure.speed import scaling, startup
from measure.speed.forward import build_backbone
from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize(
    ('exponent', 'says'), [(1.0, 'time grows in proportion'), (2.0, 'does not grow')]
)
def test_slope_of_time_over_madds(exponent, says, tmp_path):
    rows = [
        dict(
            series=series,
            name=f'{series} {n}',
            madds=n * 1e8,
            milliseconds=dict(median=n**exponent),
        )
        for series in ('size', 'batch', 'width')
        for n in (1, 2, 5)
    ]
    found = scaling.slopes(rows)
    assert found == pytest.approx(dict(size=exponent, batch=exponent, width=exponent, all=exponent))
    assert says in scaling.verdict(found)
    scaling.plot(rows, str(tmp_path / 'a.png'), 'title')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_scaling_counts_what_it_times():
    cfg = config('ssdlite_mbv2_sample')
    rows = scaling.scaling_rows(
        cfg, detect_machine(), size=SIZE, rounds=1, warmup=0, factors=(1, 1, 2), batches=(2,),
        widths=(0.25,),
    )  # fmt: skip
    assert [row['name'] for row in rows] == ['size 64x64', 'size 128x128', 'batch 2', 'width 0.25']
    madds = [row['madds'] for row in rows]
    assert madds[1] == pytest.approx(4 * madds[0], rel=0.01)
    assert madds[2] == 2 * madds[0]
    assert madds[3] < madds[0]
    own, changed = build_backbone(cfg), build_backbone(cfg, widen_factor=0.25)
    assert own.feature_info[0].channels == 2 * changed.feature_info[0].channels


def test_a_command_is_timed_until_its_line_appears():
    begin = time.perf_counter()
    code = 'import time; print("no"); print("Epoch(train)  [1][1/9]  loss: 3"); time.sleep(60)'
    startup._run_until([sys.executable, '-c', code], startup._FIRST_ITERATION)
    assert time.perf_counter() - begin < 30
    with pytest.raises(UserError, match='boom'):
        startup._run_until([sys.executable, '-c', 'raise SystemExit("boom")'], re.compile('x'))


def test_startup_gives_mmdet_the_same_data(sample_dataset, tmp_path):
    cfg = config('ssdlite_mbv2_sample', f'data_root={sample_dataset}/')
    theirs = startup._mmdet_config(cfg, tmp_path)
    theirs.dump(tmp_path / 'theirs.py')
    read = Config.fromfile(tmp_path / 'theirs.py')
    assert read.train_dataloader.dataset.type == 'CocoDataset'
    assert 'dataset' not in read.train_dataloader.dataset
    assert read.train_dataloader.batch_size == cfg.train_dataloader.batch_size
    assert read.model.bbox_head.num_classes == 4
    assert Path(read.val_evaluator.ann_file).is_file()
    with pytest.raises(UserError, match='detection config'):
        startup.startup_calls(
            str(ROOT / 'configs' / 'deeplabv3_mbv2_sample.py'), tmp_path, tmp_path, batch_size=1
        )
