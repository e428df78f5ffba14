"""tools/accuracy.py: trainings that are started and kept, tables and plots of them."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from small_util import ROOT, write_small_config

from mbv2_backbone.accuracy.groups import read_groups, sign_of
from mbv2_backbone.accuracy.job import Job
from mbv2_backbone.accuracy.plots import curves_of, draw_epochs, draw_madds, save_plots
from mbv2_backbone.accuracy.record import (
    digest_of,
    read_record,
    seconds_of_runs,
    seconds_of_training,
    validations_of,
)
from mbv2_backbone.accuracy.run import name_of, run_seeds
from mbv2_backbone.accuracy.table import accuracy_markdown
from mbv2_backbone.det.metrics import class_ap50
from mbv2_backbone.errors import UserError

TOOL = ROOT / 'tools' / 'accuracy.py'
# Stands for tools/train.py: notes how it was called and writes what a training logs.
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
def job(tmp_path, sample_set):
    config = write_small_config(tmp_path / 'small.py', sample_set)
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


def test_each_seed_is_trained_once_and_kept(job, tmp_path, sample_set, capsys):
    tool = fake_tool(tmp_path)
    run_seeds(job, [0, 3], tool)
    run_seeds(job, [0, 3], tool)
    assert 'small-seed3.json is there already' in capsys.readouterr().out
    assert sorted(path.name for path in Path(job.out).iterdir()) == [
        'small-seed0.json', 'small-seed3.json',
    ]  # fmt: skip
    (call,) = calls(job, 3)
    expected = [job.config, '--cfg-options', 'train_cfg.max_epochs=2', 'randomness.seed=3']
    assert call[:4] == expected
    assert call[4:] == ['--work-dir', f'{job.work_dirs}/small-seed3', '--resume']
    record = read_record(Path(job.out, 'small-seed3.json'))
    assert record['command'] == ' '.join(['python tools/train.py', *expected])
    assert (record['seed'], record['task'], record['data']) == (3, 'det', Path(sample_set).name)
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


def test_a_failed_training_leaves_no_record_and_is_taken_up_again(job, tmp_path):
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
    with pytest.raises(UserError, match='of other settings'):
        run_seeds(job, [0], fake_tool(tmp_path))
    Path(job.out, 'small-seed0.json').unlink()
    with pytest.raises(UserError, match='holds a training of other settings'):
        run_seeds(job, [0], fake_tool(tmp_path))
    assert len(calls(job, 0)) == 1


def test_sigterm_reaches_the_training_and_ends_the_tool(tmp_path):
    child = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up'); "
    code = textwrap.dedent(f"""
        import sys
        from mbv2_backbone.accuracy.run import run_to_end
        run_to_end([sys.executable, '-c', {child + 'sys.stdout.flush(); time.sleep(60)'!r}])
        print('not reached')
    """)
    with subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
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


def test_the_seed_and_the_place_are_no_settings():
    one = dict(model=dict(depth=1), work_dir='a', randomness=dict(seed=0))
    other = dict(model=dict(depth=1), work_dir='b')
    assert digest_of(Config(one)) == digest_of(Config(other))
    assert digest_of(Config(one)) != digest_of(Config(dict(model=dict(depth=2))))


def test_passes_over_the_images_by_epoch_and_by_iteration(sample_set):
    inner = dict(
        type='mmdet.VOCDataset', data_root=str(sample_set), ann_file='ImageSets/Main/train.txt',
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


def test_time_of_training_and_of_all_runs(tmp_path):
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


def test_ap50_of_each_class_that_has_truth():
    precision = np.random.default_rng(0).random((10, 101, 3, 4))
    precision[:, :, 1] = -1
    at_50 = precision[0, :, :, 0].mean(axis=0)
    expected = dict(a_50_precision=at_50[0], c_50_precision=at_50[2])
    assert class_ap50(precision, ('a', 'b', 'c')) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ('values', 'reference', 'sign'),
    [
        ([0.4, 0.5], [0.1, 0.3], '▲'),
        ([0.1, 0.2], [0.3, 0.4], '▼'),
        ([0.1, 0.35], [0.3, 0.4], '≈'),
        ([0.4], [0.1, 0.3], '?'),
        ([0.4, 0.5], [0.1], '?'),
    ],
)
def test_signs_say_whether_a_difference_exceeds_the_spread(values, reference, sign):
    assert sign_of(values, reference) == sign


def write_record(folder, name, seed, values, *, data='BCCD', madds=8e8, digest='x'):
    task = 'seg' if data == 'CamVid' else 'det'
    keys = dict(
        det=('coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/Platelets_precision', 'coco/bbox_mAP_s'),
        seg=('mIoU', 'mAcc', 'IoU/pole', 'Acc/pole'),
    )[task]
    found = [
        dict(epochs=4.0 * (i + 1), iter=50 * (i + 1), **dict.fromkeys(keys, value))
        for i, value in enumerate(values)
    ]
    record = dict(
        name=name, config=f'configs/{name}.py', options=[], seed=seed, digest=digest, data=data,
        command=f'python tools/train.py configs/{name}.py --cfg-options randomness.seed={seed}',
        task=task, classes=['Platelets'] if task == 'det' else ['sky', 'pole'], params=3.2e6,
        madds=madds, train_minutes=10.0 + seed, total_minutes=12.0, final=found[-1],
        best=max(found, key=lambda row: row[keys[0]]), validations=found,
        machine=dict(device='a CPU', cores=2, threads=2), versions={},
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / f'{name}-seed{seed}.json').write_text(json.dumps(record))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'records'
    write_record(folder, 'theirs', 0, [0.1, 0.2])
    write_record(folder, 'theirs', 1, [0.1, 0.3])
    write_record(folder, 'ours', 1, [0.3, 0.6])
    write_record(folder, 'ours', 0, [0.2, 0.4], madds=9e8)
    write_record(folder, 'single', 0, [0.7, 0.1])
    write_record(folder, 'masks', 0, [30.0, 40.0], data='CamVid', madds=3e9)
    return folder


def row_of(text, *cells):
    """The cells of the only row of a table that begins like that."""
    start = '| ' + ' | '.join(cells) + ' |'
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_tables_have_means_spreads_and_differences(folder):
    text = accuracy_markdown(read_groups(str(folder)), ['theirs'], ['Platelets', 'pole'])
    assert row_of(text, 'ours', '2') == [
        'ours', '2', '0.500 (0.400 to 0.600)', '0.500 (0.400 to 0.600)',
        '+0.250 (2.00 times, ▲)', '0.500 (0.400 to 0.600)', '3.20', '0.90', '8', '10.5', '12.0',
        'a CPU',
    ]  # fmt: skip
    assert row_of(text, 'theirs', '2')[4] == '-'
    single = row_of(text, 'single', '1')
    assert single[2:6] == ['0.100', '0.100', '-0.150 (0.40 times, ?)', '0.700']
    names = [line.split('|')[1].strip() for line in text.splitlines() if '| a CPU |' in line]
    assert names == ['ours', 'theirs', 'single', 'masks']  # of each data set the best first
    assert row_of(text, 'Platelets', 'ours')[2:] == [
        '0.500 (0.400 to 0.600)', '-', '+0.250 (2.00 times, ▲)',
    ]  # fmt: skip
    assert row_of(text, 'small boxes', 'theirs')[2] == '0.250 (0.200 to 0.300)'
    assert row_of(text, 'pole', 'masks')[2:] == ['40.0', '40.0', '-']
    assert '| sky |' not in text
    assert '- ours: `python tools/train.py configs/ours.py --cfg-options randomness.seed=0`' in text
    assert text.index('### BCCD') < text.index('### CamVid')


def test_seeds_of_other_settings_are_refused(folder):
    write_record(folder, 'ours', 2, [0.3, 0.6], digest='y')
    with pytest.raises(UserError, match='seeds of ours'):
        read_groups(str(folder))
    (folder / 'ours-seed2.json').write_text('{}')
    with pytest.raises(UserError, match='no record of a training'):
        read_groups(str(folder))
    with pytest.raises(UserError, match='no records'):
        read_groups(str(folder / 'empty'))


def test_plots_show_every_run(folder, tmp_path):
    groups = read_groups(str(folder))
    paths = save_plots(groups, str(tmp_path / 'pictures'))
    assert [path.name for path in paths] == [
        'accuracy_bccd_epochs.png', 'accuracy_bccd_madds.png',
        'accuracy_camvid_epochs.png', 'accuracy_camvid_madds.png',
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b'\x89PNG') for path in paths)
    ours = next(group for group in groups['BCCD'] if group.name == 'ours')
    assert curves_of(ours) == ([4.0, 8.0], [[0.2, 0.3], [0.4, 0.6]])
    figure = draw_epochs('BCCD', groups['BCCD'])
    (axis,) = figure.axes
    assert len(axis.lines) == len(axis.collections) == 3
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.25, 0.5])
    (axis,) = draw_madds('BCCD', groups['BCCD'] * 9).axes
    assert len(axis.containers) == 27  # more than there are colours


def test_the_tool_writes_the_tables_into_a_document(folder, tmp_path):
    document = tmp_path / 'accuracy.md'
    document.write_text('before\n<!-- screening:begin -->\n<!-- screening:end -->\nafter\n')
    command = [sys.executable, str(TOOL), 'table', str(folder), '--into', str(document)]
    command += ['--mark', 'screening']
    subprocess.run(command, check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    lines = document.read_text().splitlines()
    assert (lines[0], lines[-1]) == ('before', 'after')
    assert '### CamVid' in lines
