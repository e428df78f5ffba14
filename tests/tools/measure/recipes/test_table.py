"""Tables and plots of training records."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.paths import ROOT
from measure.recipes.groups import read_groups, sign_of
from measure.recipes.plots import curves_of, draw_epochs, draw_madds, save_plots
from measure.recipes.table import accuracy_markdown

from mbv2_backbone.common.messages import UserError

TOOL = ROOT / 'tools' / 'accuracy.py'


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
    """Return the cells of the only row that begins with this text."""
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
    assert names == ['ours', 'theirs', 'single', 'masks']  # of each dataset, the best first
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
    with pytest.raises(UserError, match='not a training record'):
        read_groups(str(folder))
    with pytest.raises(UserError, match='no records'):
        read_groups(str(folder / 'empty'))


def test_plots_show_every_run(folder, tmp_path):
    groups = read_groups(str(folder))
    paths = save_plots(groups, str(tmp_path / 'plots'))
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
    assert len(axis.containers) == 27  # more than the number of colours


def test_the_tool_writes_the_tables_into_a_document(folder, tmp_path):
    document = tmp_path / 'accuracy.md'
    document.write_text('before\n<!-- screening:begin -->\n<!-- screening:end -->\nafter\n')
    command = [sys.executable, str(TOOL), 'table', str(folder), '--into', str(document)]
    command += ['--mark', 'screening']
    subprocess.run(command, check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    lines = document.read_text().splitlines()
    assert (lines[0], lines[-1]) == ('before', 'after')
    assert '### CamVid' in lines
