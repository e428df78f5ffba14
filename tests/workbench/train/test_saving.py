"""Checkpoints are complete or absent: killed while writing, a full disk, a truncated file."""

import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from helpers.pickle import MakesFolder
from helpers.resume import assert_same, environment, scalars, states, toy_config, train_toy
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import METRICS

from mbv2_backbone.common.files import append_line, write_atomically
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.whole_model import check_resumable, last_checkpoint, newest_resumable

KEEP_ONE = dict(default_hooks=dict(checkpoint=dict(max_keep_ckpts=1)))


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


def test_an_incomplete_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'deep' / 'a.pth'
    write_atomically(b'old', path)

    def full(number):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(b'new', path)
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['a.pth']


class FullDisk(Hook):
    """Keep this process from writing large files in some epochs."""

    priority = 'VERY_HIGH'

    def __init__(self, epochs):
        self.epochs = epochs

    def before_train_epoch(self, runner):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        soft = 4096 if runner.epoch + 1 in self.epochs else hard
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def _unlimited():
    yield
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.usefixtures('_unlimited')
def test_a_run_survives_a_full_disk(tmp_path, capfd):
    cfg = toy_config(tmp_path, length=4, log_level='WARNING', **KEEP_ONE)
    train_toy(cfg, hooks=[FullDisk(epochs=(2, 3))])
    said = capfd.readouterr().err + capfd.readouterr().out
    log = next(tmp_path.glob('*/*.log')).read_text() + said
    for epoch in (2, 3):
        assert f'Could not save {tmp_path}/epoch_{epoch}.pth ([Errno 27] File too large)' in log
    assert f'the last good checkpoint is {tmp_path}/epoch_1.pth' in log
    assert names(tmp_path) == ['epoch_4.pth']
    assert last_checkpoint(tmp_path) == f'{tmp_path}/epoch_4.pth'


@pytest.mark.usefixtures('_unlimited')
def test_a_disk_full_to_the_end_leaves_the_last_good_checkpoint(tmp_path):
    train_toy(toy_config(tmp_path, length=3, **KEEP_ONE), hooks=[FullDisk(epochs=(2, 3))])
    assert names(tmp_path) == ['epoch_1.pth']
    assert newest_resumable(tmp_path, pytest.fail) == f'{tmp_path}/epoch_1.pth'
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['meta']['epoch'] == 1


# A separate file system in a namespace that ends with the process; what is left goes to `out`.
ON_A_FULL_DISK = """
import os, shutil, sys
import mbv2_backbone
from mmengine.hooks import Hook
from helpers.resume import toy_config, train_toy
from mbv2_backbone.workbench.checks.broken_images import BrokenImages
from mbv2_backbone.workbench.train.tracking import add_tracking

class Fill(Hook):
    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            with open('ballast', 'wb', buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(512))
                except OSError:
                    pass
            broken.add('b.jpg', 'is empty')
        if runner.epoch == 30:
            os.remove('ballast')
            broken.add('c.jpg', 'is empty')

os.chdir(sys.argv[1])
broken = BrokenImages('work/broken_images.txt')
broken.add('a' * 4080, 'is empty')  # nearly a block of the disk, which takes half of the next line
hooks = dict(checkpoint=dict(max_keep_ckpts=1), logger=dict(type='LoggerHook', interval=1))
cfg = toy_config('work', length=31, log_level='WARNING', default_hooks=hooks)
cfg = add_tracking().change(cfg)
train_toy(cfg, hooks=[Fill()])
assert list(broken.problems().values()) == ['is empty'] * 3
shutil.copytree('work', sys.argv[2])
"""
MOUNT = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'


def test_a_run_survives_a_completely_full_disk(tmp_path):
    """From the second epoch to the thirtieth of 31."""
    disk, out = tmp_path / 'disk', tmp_path / 'out'
    disk.mkdir()
    mounted = ['unshare', '--mount', '--map-root-user', 'sh', '-c', MOUNT, disk]
    if shutil.which('unshare') is None or subprocess.run([*mounted, 'true']).returncode:
        pytest.skip('this machine does not let a test mount a file system')
    result = subprocess.run(
        [*mounted, sys.executable, '-c', ON_A_FULL_DISK, disk, out],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    said = result.stdout + result.stderr
    full = r'\[Errno 28\] No space left on device'
    assert len(re.findall(rf'SafeLocalVisBackend could not record .*{full}', said)) == 1
    assert 'LateTensorboardVisBackend could not record' in said
    noted = rf'b.jpg is empty, and could not be noted in work/broken_images.txt \({full}'
    assert len(re.findall(noted, said)) == 1
    assert re.search(rf'Could not save .*/epoch_2.pth \({full}', said)
    lines = (out / 'broken_images.txt').read_text().splitlines()
    assert lines == ['a' * 4080 + '\tis empty', 'c.jpg\tis empty']
    steps = scalars(out, 'step')  # of complete lines
    assert set(range(1, 5)) | set(range(121, 125)) <= set(steps)
    assert len(steps) == len(set(steps)) < 124
    assert names(out) == ['epoch_31.pth']
    assert torch.load(out / 'epoch_31.pth', weights_only=True)['meta']['iter'] == 124


@pytest.mark.usefixtures('_unlimited')
def test_a_line_that_does_not_fit_leaves_nothing(tmp_path):
    path = tmp_path / 'lines'
    append_line('é' * 3000, path)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (6010, hard))
    with pytest.raises(OSError, match='too large'):
        append_line('b' * 20, path)
    append_line('c' * 8, path)
    assert path.read_text(encoding='utf-8') == 'é' * 3000 + '\n' + 'c' * 8 + '\n'


@METRICS.register_module()
class RisingMetric(BaseMetric):
    """A metric of 1, 2, 3 and so on."""

    def __init__(self):
        super().__init__()
        self.value = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.value += 1
        return dict(acc=float(self.value))


@pytest.mark.usefixtures('_unlimited')
def test_the_best_checkpoint_is_replaced_and_kept_on_a_full_disk(tmp_path):
    loader = dict(
        dataset=dict(type='ToyDataset', size=3),
        batch_size=3,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    options = dict(
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=dict(type='RisingMetric'),
        default_hooks=dict(checkpoint=dict(max_keep_ckpts=1, save_best='acc')),
    )
    train_toy(toy_config(tmp_path, length=2, **options))
    assert names(tmp_path) == ['best_acc_epoch_2.pth', 'epoch_2.pth']
    runner = train_toy(
        toy_config(tmp_path, length=3, **options),
        resume=f'{tmp_path}/epoch_2.pth',
        hooks=[FullDisk(epochs=(3,))],
    )
    assert names(tmp_path) == ['best_acc_epoch_2.pth', 'epoch_2.pth']
    assert runner.message_hub.get_info('best_score') == 2


KILLED_WHILE_WRITING = """
import os, signal, sys
import mbv2_backbone
from helpers.resume import toy_config, train_toy
sync, calls = os.fsync, []
def fsync(number):
    sync(number)
    calls.append(number)
    if len(calls) == 3:  # the first epoch wrote the checkpoint and its name
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
train_toy(toy_config(sys.argv[1], length=3, default_hooks=dict(checkpoint=dict(max_keep_ckpts=1))))
"""


def test_after_a_kill_while_writing_the_last_good_checkpoint_is_used(tmp_path):
    work_dir = tmp_path / 'killed'
    result = subprocess.run(
        [sys.executable, '-c', KILLED_WHILE_WRITING, work_dir],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == -9, result.stderr[-3000:]
    assert names(work_dir) == ['epoch_1.pth']
    assert (work_dir / '.epoch_2.pth.part').is_file()
    path = newest_resumable(work_dir, pytest.fail)
    assert path == f'{work_dir}/epoch_1.pth'
    train_toy(toy_config(work_dir, length=3, **KEEP_ONE), resume=path)
    train_toy(toy_config(tmp_path / 'whole', length=3, **KEEP_ONE))
    assert_same(work_dir / 'epoch_3.pth', states(tmp_path / 'whole/epoch_3.pth'))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensor = archive.read('archive/data/0')
    data[data.index(tensor) + len(tensor) // 2] ^= 0xFF
    path.write_bytes(data)


def carry_code(path):
    path.write_bytes(pickle.dumps(MakesFolder(f'{path}.ran')))


@pytest.mark.parametrize('spoil', [truncate, flip_a_byte, carry_code, lambda p: p.write_bytes(b'')])
def test_a_damaged_newest_checkpoint_is_skipped_and_named(tmp_path, spoil):
    train_toy(toy_config(tmp_path, length=2))
    spoil(tmp_path / 'epoch_2.pth')
    told = []
    assert newest_resumable(tmp_path, told.append) == f'{tmp_path}/epoch_1.pth'
    assert len(told) == 1
    assert 'epoch_2.pth' in told[0]
    assert f'Resuming from {tmp_path}/epoch_1.pth' in told[0]
    assert not (tmp_path / 'epoch_2.pth.ran').exists()
    with pytest.raises(UserError, match='epoch_2'):
        check_resumable(str(tmp_path / 'epoch_2.pth'))
    truncate(tmp_path / 'epoch_1.pth')
    with pytest.raises(UserError, match=r'epoch_2(.|\n)*epoch_1(.|\n)*start again'):
        newest_resumable(tmp_path, told.append)


def test_without_checkpoints_a_run_starts_from_scratch(tmp_path):
    assert newest_resumable(tmp_path, pytest.fail) is None
    assert newest_resumable(tmp_path / 'none', pytest.fail) is None


def test_a_run_is_not_resumed_from_weights_alone(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='no training state'):
        check_resumable(str(tmp_path / 'weights.pth'))
