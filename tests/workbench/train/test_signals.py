"""Ctrl-C and SIGTERM save and stop; a second Ctrl-C stops at once."""

import shlex
import signal
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest
from helpers.paths import ROOT
from helpers.resume import assert_same, environment, states, train_command, write_config

from mbv2_backbone.workbench import run
from mbv2_backbone.workbench.train import signals
from mbv2_backbone.workbench.train.signals import Stop, StopHook, resume_command

PRESSED_TWICE = f"""
import argparse, sys
sys.path.append({str(ROOT / 'tools')!r})
from common import run

def main(args):
    import os, signal, time
    from mbv2_backbone.workbench.train.signals import stop_signals
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # a launcher passes on the first
        print('saving', stop.signum, flush=True)
        time.sleep(1.2)
        os.kill(os.getpid(), signal.SIGINT)
        print('not reached', flush=True)

run(main, argparse.Namespace())
"""


def test_a_second_ctrl_c_stops_at_once():
    result = subprocess.run(
        [sys.executable, '-c', PRESSED_TWICE],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 130, result.stderr
    assert result.stdout.split() == ['saving', '2']
    assert 'interrupted: stopped at once' in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=['SIGTERM', 'SIGINT']
)
def test_a_signal_saves_and_says_how_to_resume(sample_dataset, tmp_path, number, code):
    hook = f"custom_hooks.append(dict(type='SignalHook', signum={int(number)}, step=2))"
    config = write_config(tmp_path / 'a.py', sample_dataset, hook)
    command = train_command(config, '--work-dir', tmp_path / 'work')
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    output = result.stdout + result.stderr
    assert result.returncode == code, output[-3000:]
    assert 'Traceback' not in output
    assert (tmp_path / 'work/interrupted.pth').is_file()
    assert f'{number.name}: saved {tmp_path}/work/interrupted.pth after iteration 2' in output
    assert shlex.join(['python', *command[1:], '--resume']) in output


def test_ctrl_c_in_the_validation_saves_the_trained_weights(sample_dataset, tmp_path):
    """The validation runs with the averages in place of the weights."""
    hook = f"custom_hooks.append(dict(type='SignalHook', signum={int(signal.SIGINT)}, val_step=1))"
    config = write_config(tmp_path / 'a.py', sample_dataset, hook)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=r"saved .*interrupted.pth; .*resume='auto'"):
        run.train(config, work_dir=str(tmp_path / 'work'))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert_same(tmp_path / 'work/interrupted.pth', states(tmp_path / 'work/epoch_2.pth'))


@pytest.mark.parametrize('count', [1, 7, 64])
def test_processes_on_gpus_agree_soon_after_ten_batches(monkeypatch, count):
    """Independent of the number of batches per update."""
    asked = []
    monkeypatch.setattr(signals, 'get_world_size', lambda: 2)
    monkeypatch.setattr(signals, 'get_device', lambda: 'cpu:0')  # as on a GPU
    hook = StopHook(Stop())
    for batch in range(200):
        wrapper = SimpleNamespace(should_update=lambda done=batch + 1: done % count == 0)
        monkeypatch.setattr(signals, 'all_reduce', lambda *_, at=batch: asked.append(at))
        hook.after_train_iter(SimpleNamespace(iter=batch, optim_wrapper=wrapper), batch)
    gaps = {after - before for before, after in pairwise(asked)}
    assert gaps == {{1: 10, 7: 14, 64: 64}[count]}
    assert asked[0] == count - 1


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('tools/train.py a.py', 'python tools/train.py a.py --resume'),
        ('tools/train.py a.py --resume', 'python tools/train.py a.py --resume'),
        ('train.py a.py --resume x.pth --amp', 'python train.py a.py --amp --resume'),
        ('train.py a.py --resume=x.pth', 'python train.py a.py --resume'),
        ('train.py --resume --amp a.py', 'python train.py --amp a.py --resume'),
        ("train.py 'a b.py'", "python train.py 'a b.py' --resume"),
        ('ipykernel_launcher.py -f kernel.json', "train(…, resume='auto')"),
        ('my_own_program.py', "train(…, resume='auto')"),
    ],
)
def test_the_command_that_resumes(line, expected):
    assert resume_command(shlex.split(line)) == expected
