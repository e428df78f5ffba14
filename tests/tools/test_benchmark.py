"""tools/benchmark.py as a user runs it."""

import json
import os
import subprocess
import sys

import pytest
from helpers.paths import ROOT
from measure.speed.work import WORK

pytestmark = pytest.mark.runtime
SAMPLE = ROOT / 'configs' / 'ssdlite_mbv2_sample.py'
KINDS = (*WORK, 'table', 'plan')


def tool(*args, flags=()):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, *flags, str(ROOT / 'tools' / 'benchmark.py'), *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.parametrize('args', [(), ('train',), ('plan',)])
def test_help_imports_nothing_heavy(args):
    result = tool(*args, '--help', flags=('-X', 'importtime'))
    assert result.returncode == 0
    assert result.stdout.startswith('usage:')
    assert not any(f' {name}\n' in result.stderr for name in ('torch', 'numpy', 'mmengine'))
    if not args:
        assert all(kind in result.stdout for kind in KINDS)


@pytest.mark.slow
def test_train_writes_json_that_becomes_a_table(tmp_path):
    path = tmp_path / 'speed.json'
    result = tool(
        'train', SAMPLE, '--size', 64, 64, '--batch-size', 2, '--rounds', 2, '--warmup', 1,
        '--threads', 1, '--no-amp', '--peer-channels-last', '--json', path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    for word in ('ours', 'mmdet', 'median ms', 'quartiles', 'times as fast as mmdet', 'torch '):
        assert word in result.stdout
    (written,) = json.loads(path.read_text())
    assert [row['name'] for row in written['rows']] == ['ours', 'mmdet', 'mmdet, channels_last']
    assert [row['rounds'] for row in written['rows']] == [2, 2, 2]
    assert written['settings'] == dict(batch=2, size=[64, 64], rounds=2)
    assert written['machine']['threads'] == 1
    assert written['command'].startswith('python tools/benchmark.py train ')
    assert any('a process of its own' in note for note in written['notes'])

    readme = tmp_path / 'README.md'
    readme.write_text('a\n<!-- speed:begin -->\n<!-- speed:end -->\nb\n')
    result = tool('table', path, '--into', readme)
    assert result.returncode == 0, result.stderr
    assert '| mmdet, channels_last |' in readme.read_text()
    result = tool('table', path, '--brief', '--into', readme)
    assert result.returncode == 0, result.stderr
    assert '| ours |' in readme.read_text()
    assert 'channels_last' not in readme.read_text()
