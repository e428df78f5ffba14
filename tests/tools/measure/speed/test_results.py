"""Benchmark results: file, table, plan."""

import re
from pathlib import Path

import pytest
from helpers.paths import ROOT
from measure.markdown import put_between
from measure.speed import plan, table
from measure.speed import results as report

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import load_config

pytestmark = pytest.mark.runtime


def result(work, name='ours', rate=100.0, *, median=10.0, gpu=None, settings=None):
    def row(name, median):
        times = dict(median=median, q1=median, q3=median)
        ratio = dict(median=20 / median, q1=1.5, q3=2.5)
        return dict(name=name, milliseconds=times, images_per_second=rate, times_as_fast=ratio)

    return dict(
        work=work,
        config='ssdlite_mbv2_coco.py',
        command=f'python tools/benchmark.py {work}',
        settings=settings or dict(images=5000),
        reference='mmdet',
        rows=[row(name, median), row('mmdet', 20.0)],
        notes=['a note'],
        machine=dict(
            cpu='a CPU', gpu=gpu, threads=1, cores=2, load_before=0.1, ours_runs_in='float32'
        ),
        versions=dict(torch='9.9'),
    )


def test_results_are_collected_in_a_file(tmp_path):
    path = str(tmp_path / 'a.json')
    report.append_json(path, result('train'))
    report.append_json(path, result('data'))
    assert [r['work'] for r in report.read_json(path)] == ['train', 'data']
    for broken in ('{}', '[1]', 'x', '[{"work": 1}]'):
        Path(path).write_text(broken)
        with pytest.raises(UserError, match=r'a\.json'):
            report.append_json(path, result('train'))
        assert Path(path).read_text() == broken


def test_the_table_shows_the_newest_and_goes_between_its_marks(tmp_path):
    results = [result('train', median=10.0), result('data'), result('train', median=8.0)]
    text = table.speed_table(results)
    assert '| train, `ssdlite_mbv2_coco.py`, images 5,000 | ours | 8.0 (8.0 to 8.0) |' in text
    assert '**2.50** (1.50 to 2.50)' in text
    assert text.count('| train,') == 1
    assert 'a CPU' in text
    assert 'torch 9.9' in text
    assert text.count('a note') == 1
    path = tmp_path / 'README.md'
    path.write_text('before\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nafter\n')
    for _ in range(2):
        put_between(str(path), 'speed', text)
        assert path.read_text() == (
            f'before\n<!-- speed:begin -->\n{text}\n<!-- speed:end -->\nafter\n'
        )
    path.write_text('no marks')
    with pytest.raises(UserError, match='speed:begin'):
        put_between(str(path), 'speed', text)


def test_the_brief_table_has_ratios_of_ours_only():
    help_text = result('help text')
    help_text['reference'] = 'mmdet --help'
    help_text['rows'][1]['name'] = 'mmdet --help'
    text = table.brief_table([result('train', median=10.0), result('train', median=8.0), help_text])
    header, _, train, helped = text.splitlines()
    assert header.endswith('| as |')
    assert train.endswith('| ours | **2.5** (1.5 to 2.5) | mmdet |')
    assert helped.startswith('| help text')
    assert helped.endswith('| mmdet |')
    *_, only = table.brief_table([result('train'), help_text], ['help text']).splitlines()
    assert only == helped
    assert len(table.brief_table([result('train'), help_text], ['train']).splitlines()) == 3


RATES = plan.Rates(step=1000.0, step_source='x', pipeline=100.0, metric_seconds=36.0, cores=16)


def test_the_plan_by_hand():
    row = plan.plan(RATES, gpus=8, epochs=10, validations=5)
    iterations = -(-117_266 * 10 // 192)
    assert (row['batch'], row['needed_loaders'], row['loaders']) == (24, 10, 10)
    assert row['hours']['GPU step'] == pytest.approx(iterations * 24 / 1000 / 3600)
    assert row['hours']['loading'] == pytest.approx(row['hours']['GPU step'])
    assert row['hours']['gradient exchange'] == 0
    assert row['hours']['evaluation'] == pytest.approx(5 * (5000 / 24_000 + 36) / 3600)
    assert row['total'] == pytest.approx(row['hours']['GPU step'] + row['hours']['evaluation'])
    many = plan.plan(RATES, gpus=64, epochs=10, validations=5)
    steps = -(-117_266 * 10 // (64 * 24))
    assert many['hours']['gradient exchange'] == pytest.approx(
        steps * 2 * 4_337_013 * 4 / 12.5e9 / 3600
    )
    assert many['bottleneck'] == 'evaluation'


@pytest.mark.parametrize(
    ('changes', 'bottleneck'),
    [(dict(pipeline=150.0), 'GPU step'), (dict(pipeline=20.0), 'loading')],
)
def test_the_bottleneck_is_named(changes, bottleneck):
    rates = plan.Rates(**vars(RATES) | changes)
    row = plan.plan(rates, gpus=8, epochs=600, validations=24)
    assert row['bottleneck'] == bottleneck
    assert (row['needed_loaders'] > rates.cores) == (bottleneck == 'loading')


def test_rates_come_from_results_and_an_assumed_step_is_marked():
    results = [result('data', rate=123.0), result('evaluate', median=4000.0)]
    rates, sources = plan.read_rates(results)
    assert (rates.pipeline, rates.metric_seconds) == (123.0, 4.0)
    assert rates.step == pytest.approx(888, abs=1)
    assert 'an assumption, not a measurement' in sources[0]
    # A step on a CPU says nothing about a GPU.
    assert plan.read_rates([*results, result('train', rate=7.0)])[0].step == rates.step
    measured, sources = plan.read_rates([*results, result('train', rate=7.0, gpu='a GPU')])
    assert (measured.step, sources[0]) == (7.0, 'GPU step: measured on a GPU')
    given, sources = plan.read_rates(results, step=5.0, cores=None)
    assert (given.step, given.cores) == (5.0, 16)
    assert 'given by' in sources[0]
    half = [results[0], result('evaluate', median=4000.0, settings=dict(images=2500))]
    assert plan.read_rates(half)[0].metric_seconds == 8.0
    for missing in ('data', 'evaluate'):
        with pytest.raises(UserError, match=f'`{missing}`'):
            plan.read_rates([r for r in results if r['work'] != missing])


def test_the_plans_options_are_settings_of_the_config():
    text = plan.plan_markdown(RATES, ['source'])
    assert text.count('torchrun') == 4
    assert text.count('--nnodes=8') == 2
    options = re.findall(r'--cfg-options (.*)', text)
    assert len(options) == 6
    config = str(ROOT / 'configs' / 'ssdlite_mbv2_coco.py')
    cfg = load_config(config, options[4].split())
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].T_max == 30
    assert cfg.train_dataloader.num_workers == 10
