"""`make gpu` tried on a CPU: every part, its share of the time, and what is said without a GPU."""

import json
import os
import subprocess
import sys
import time
from argparse import Namespace

import psutil
import pytest
import torch
from helpers.paths import ROOT, config_path
from measure.speed import gpu
from measure.speed.gpu import MINUTES, parts_of, run_part

from mbv2_backbone.common.messages import UserError

pytestmark = pytest.mark.runtime
COCO = config_path('ssdlite_mbv2_coco')
DEFAULTS = dict(config=COCO, size=None, batch_size=None, rounds=10, cfg_options=None, minutes=8.0)


def test_the_shares_of_the_parts_are_no_more_than_the_minutes():
    parts = parts_of(Namespace(**DEFAULTS), 'folder')
    assert 0.9 < sum(part.seconds for part in parts) / (60 * MINUTES) <= 1
    assert len({part.name for part in parts}) == len(parts)


def test_a_part_that_overruns_is_stopped_with_what_it_started(tmp_path):
    pids = tmp_path / 'pids'
    child = f'import os, time; open({str(pids)!r}, "a").write(f"{{os.getpid()}} "); time.sleep(600)'
    code = f'import subprocess, sys; subprocess.Popen([sys.executable, "-c", {child!r}]); {child}'
    outcome = run_part([sys.executable, '-c', code], 5, dict(os.environ))
    assert outcome == 'stopped after its share of the time'
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    begin = time.monotonic()
    while any(map(_runs, started)):  # a killed process ends when the system comes to it
        assert time.monotonic() - begin < 60
        time.sleep(0.1)


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_part_that_fails_is_named_by_its_last_line():
    for code, outcome in (('print(1)', 'done'), ('print(2); 1 / 0', 'failed: ZeroDivisionError')):
        assert run_part([sys.executable, '-c', code], 60, dict(os.environ)).startswith(outcome)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_it_says_what_is_wrong():
    with pytest.raises(UserError, match=r'measures a CUDA GPU; no CUDA: .*--device cpu'):
        gpu.measure_all(Namespace(**DEFAULTS, device='cuda'))


def test_one_of_several_gpus_is_used(monkeypatch):
    facts = gpu.gpu_facts()
    monkeypatch.setattr(gpu, 'gpu_facts', lambda: type(facts)(True, '13.2', ('A', 'B'), 'cuda'))
    for visible, used in ((None, '0'), ('2,3', '2'), ('GPU-1', 'GPU-1')):
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        if visible is not None:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
        assert gpu.chosen_environment('cuda')['CUDA_VISIBLE_DEVICES'] == used
    assert gpu.chosen_environment('cpu')['CUDA_VISIBLE_DEVICES'] == ''


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_and_becomes_a_table(tmp_path):
    out, tool = tmp_path / 'gpu.json', [sys.executable, str(ROOT / 'tools' / 'benchmark.py')]
    env = dict(os.environ, OMP_NUM_THREADS='1')
    command = [
        *tool, 'gpu', COCO, '--device', 'cpu', '--minutes', 100, '--json', out, '--size', 64, 64,
        '--batch-size', 2, '--rounds', 1, '--cfg-options', 'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
    ]  # fmt: skip
    ended = subprocess.run(map(str, command), cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    *measured, summary = json.loads(out.read_text())
    outcomes = {row['name']: row['outcome'] for row in summary['rows']}
    assert outcomes.pop('train the sample').startswith('done, mAP 0.')
    assert set(outcomes.values()) == {'done'}, outcomes
    works = [result['work'] for result in measured]
    memory, operators = ['peak memory of train'] * 2, ['profile of train'] * 2
    assert works == ['losses', 'train', 'train', *memory, 'predict', *operators, 'train']
    for result in measured:
        assert str(tmp_path) not in result['command']
    steps = [result['settings'] for result in measured if result['work'] == 'train']
    assert [(step.get('precision'), step.get('networks')) for step in steps] == [
        (None, None), ('bfloat16', None), ('bfloat16', 'compiled'),
    ]  # fmt: skip
    page = tmp_path / 'page.md'
    for brief in ([], ['--brief']):
        page.write_text('<!-- gpu:begin -->\n<!-- gpu:end -->\n')
        into = ['table', str(out), '--mark', 'gpu', '--into', str(page), *brief]
        assert subprocess.run([*tool, *into], env=env).returncode == 0
        assert 'networks compiled | ours' in page.read_text()
