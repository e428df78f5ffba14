"""tools/accuracy.py: training with several seeds, and the records it keeps."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers.class_data import write_classes
from helpers.paths import ROOT
from helpers.small import write_small_config
from measure.recipes.groups import read_groups
from measure.recipes.job import Job
from measure.recipes.record import read_record
from measure.recipes.table import accuracy_markdown
from measure.recipes.train_seeds import name_of, run_seeds

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.new_config.write import Choices, write_config

# Replaces tools/train.py: notes how it was called, and writes what a training logs.
FAKE = """
import json, pathlib, sys, time
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with (work_dir / 'calls').open('a') as file:
    file.write(json.dumps(sys.argv[1:]) + '\\n')
if {fails}:
    sys.exit(3)
folder = work_dir / time.strftime('%Y%m%d_%H%M%S') / 'vis_data'
folder.mkdir(parents=True)
rows = []
for epoch in (1, 2):
    rows.append(dict(lr=0.1, loss=1.0, time=30.0, epoch=epoch, iter=2 * epoch, step=2 * epoch))
    value = 0.1 * epoch
    figures = {{'coco/bbox_mAP': value, 'coco/disc_precision': value, 'time': 9.0}}
    rows.append(dict(figures, step=epoch))
(folder / 'scalars.json').write_text('\\n'.join(map(json.dumps, rows)))
"""


@pytest.fixture
def job(tmp_path, sample_dataset):
    config = write_small_config(tmp_path / 'small.py', sample_dataset)
    return Job(
        name='small',
        config=str(config),
        options=('train_cfg.max_epochs=2',),
        out=str(tmp_path / 'out'),
        work_dirs=str(tmp_path / 'work_dirs'),
    )


def fake_tool(folder, *, fails=False):
    path = folder / 'fake_train.py'
    path.write_text(textwrap.dedent(FAKE.format(fails=fails)))
    return path


def calls(job, seed):
    text = Path(job.work_dirs, f'{job.name}-seed{seed}', 'calls').read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_each_seed_is_trained_once_and_kept(job, tmp_path, sample_dataset, capsys):
    tool = fake_tool(tmp_path)
    run_seeds(job, [0, 3], tool)
    run_seeds(job, [0, 3], tool)
    assert 'small-seed3.json already exists' in capsys.readouterr().out
    assert sorted(path.name for path in Path(job.out).iterdir()) == [
        'small-seed0.json', 'small-seed3.json',
    ]  # fmt: skip
    (call,) = calls(job, 3)
    expected = [job.config, '--cfg-options', 'train_cfg.max_epochs=2', 'randomness.seed=3']
    assert call[:4] == expected
    assert call[4:] == ['--work-dir', f'{job.work_dirs}/small-seed3', '--resume']
    record = read_record(Path(job.out, 'small-seed3.json'))
    assert record['command'] == ' '.join(['python tools/train.py', *expected])
    assert (record['seed'], record['task'], record['data']) == (3, 'det', Path(sample_dataset).name)
    assert record['classes'] == ['disc', 'square', 'triangle', 'star']
    assert 0 < record['params'] < 1e6 < record['madds']
    assert record['train_minutes'] == 2.0  # four steps of 30 s
    assert 0 <= record['total_minutes'] < 0.1
    assert [found['epochs'] for found in record['validations']] == [1, 2]
    assert record['final'] == record['best'] == record['validations'][-1]
    assert record['final'] == {
        'epochs': 2, 'iter': 4, 'coco/bbox_mAP': 0.2, 'coco/disc_precision': 0.2,
    }  # fmt: skip
    assert record['versions']['torch']


def test_a_failed_training_leaves_no_record_and_is_repeated(job, tmp_path):
    with pytest.raises(UserError, match='small-seed0 ended with 3'):
        run_seeds(job, [0, 1], fake_tool(tmp_path, fails=True))
    assert not Path(job.out).exists()
    run_seeds(job, [0], fake_tool(tmp_path))
    assert len(calls(job, 0)) == 2
    assert read_record(Path(job.out, 'small-seed0.json'))['seed'] == 0


def test_figures_of_other_settings_are_not_mixed(job, tmp_path):
    run_seeds(job, [0], fake_tool(tmp_path))
    with open(job.config, 'a') as file:
        file.write('optim_wrapper = dict(optimizer=dict(lr=0.123))\n')
    with pytest.raises(UserError, match='made with different settings'):
        run_seeds(job, [0], fake_tool(tmp_path))
    Path(job.out, 'small-seed0.json').unlink()
    with pytest.raises(UserError, match='contains a run with different settings'):
        run_seeds(job, [0], fake_tool(tmp_path))
    assert len(calls(job, 0)) == 1


def test_sigterm_reaches_the_training_and_ends_the_tool(tmp_path):
    child = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up'); "
    code = textwrap.dedent(f"""
        import sys
        from measure.recipes.train_seeds import run_to_end
        run_to_end([sys.executable, '-c', {child + 'sys.stdout.flush(); time.sleep(60)'!r}])
        print('not reached')
    """)
    with subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tools"}'},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == 'up\n'
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ''
        assert process.wait() == 143
    assert time.monotonic() - start < 30


def test_overrides_need_a_name():
    assert name_of('configs/a.py', [], None) == 'a'
    assert name_of('configs/a.py', ['x=1'], 'b') == 'b'
    with pytest.raises(UserError, match='--name'):
        name_of('configs/a.py', ['x=1'], None)


def test_a_classifier_is_trained_recorded_and_tabled(tmp_path):
    root = write_classes(tmp_path / 'colours')
    choices = Choices(width=0.35, size=64, passes=1, pretrained='none')
    write_config(root, 'cls', out=tmp_path / 'photos.py', choices=choices)
    job = Job(
        name='photos',
        config=str(tmp_path / 'photos.py'),
        out=str(tmp_path / 'out'),
        work_dirs=str(tmp_path / 'work_dirs'),
    )
    run_seeds(job, [0, 1], ROOT / 'tools' / 'train.py')
    record = read_record(Path(job.out, 'photos-seed1.json'))
    assert (record['task'], record['data']) == ('cls', 'colours')
    assert record['classes'] == ['blue', 'green', 'red']
    assert 0 < record['params'] < 1e6 < record['madds']
    table = accuracy_markdown(read_groups(job.out), ('photos',), ('red',))
    values = [
        read_record(Path(job.out, f'photos-seed{seed}.json'))['final']['accuracy/top1']
        for seed in (0, 1)
    ]
    spread = f'{sum(values) / 2:.1f} ({min(values):.1f} to {max(values):.1f})'
    assert '| run | seeds | top-1 | top-5 | against the reference | best top-1 |' in table
    assert f'| photos | 2 | {spread} | - | - | {spread} |' in table
    assert '| red | photos |' in table
