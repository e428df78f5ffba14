"""Whole commands of ours and of the peers, timed from start to end."""

import sys

import pytest
from helpers.bench import arguments, config
from helpers.paths import ROOT, config_path
from measure.speed.commands import command_calls, run_to_end
from measure.speed.split import Stages
from measure.speed.work import WORK

from mbv2_backbone.common.messages import UserError

pytestmark = pytest.mark.runtime


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'peer', 'tool', 'options'),
    [
        ('ssdlite_mbv2_coco_mmdet-taps', 'mmdet', 'test', ''),
        ('deeplabv3_mbv2_voc12aug', 'mmseg', 'test', ''),
        ('ssdlite_mbv2_sample', 'mmdet', 'predict', '--no-draw'),
    ],
)
def test_both_commands_run_to_their_end(name, peer, tool, options):
    args = arguments(
        'command', name, tool=tool, images=3, rounds=1, peer=[peer], options=options, checkout=[],
        split=False, train_tool=ROOT / 'tools' / 'train.py',
    )  # fmt: skip
    (result,) = WORK['command'](args)
    assert [row['name'] for row in result['rows']] == ['ours', peer]
    assert result['reference'] == peer
    assert all(row['milliseconds']['median'] > 1000 for row in result['rows'])
    notes = ' '.join(result['notes'])
    assert 'processor time of a command: ours ' in notes
    if tool == 'test':
        ours, theirs = notes.split('figures: ours ')[1].split(f', {peer} ')
        assert ours.startswith(('bbox_mAP', 'mIoU'))
        if 'mmdet-taps' in name:  # the same weights
            assert ours == theirs


@pytest.mark.slow
def test_the_split_names_the_stages():
    args = arguments(
        'command', 'ssdlite_mbv2_sample', tool='test', images=3, rounds=1, peer=['mmdet'],
        options='', checkout=[], split=True, train_tool=ROOT / 'tools' / 'train.py',
    )  # fmt: skip
    (result,) = WORK['command'](args)
    stages = {row['stage']: row['ours s'] for row in result['rows']}
    assert {'imports', 'decoding', 'network', 'suppression', 'metric', 'report'} <= stages.keys()
    assert stages['imports'] > 0.5


def test_the_innermost_stage_gets_the_time():
    stages = Stages()

    def spin(seconds):
        import time

        begin = time.thread_time()
        while time.thread_time() - begin < seconds:
            pass

    inner = stages.within('inner', lambda: spin(0.05))
    outer = stages.within('outer', lambda: [spin(0.02), inner(), spin(0.02)])
    outer()
    assert stages.seconds['inner'] == pytest.approx(0.05, abs=0.015)
    assert stages.seconds['outer'] == pytest.approx(0.04, abs=0.015)


def test_what_no_checkout_has_is_left_out():
    Stages().watch('network', 'mbv2_backbone.nowhere:nothing')
    Stages().watch('network', 'mbv2_backbone.arch:nothing')


def test_a_command_that_fails_is_shown():
    with pytest.raises(UserError, match='no such thing'):
        run_to_end([sys.executable, '-c', 'raise SystemExit("no such thing")'], {})
    output, seconds = run_to_end([sys.executable, '-c', 'print(sum(range(10**6)))'], {})
    assert output == '499999500000\n'
    assert 0 < seconds < 5


def test_whole_predictions_are_of_detectors(tmp_path):
    name = 'deeplabv3_mbv2_sample'
    with pytest.raises(UserError, match='detector'):
        command_calls(
            config(name), config_path(name), 'mmseg', tmp_path, tool='predict', num_images=1,
            tools=ROOT / 'tools',
        )  # fmt: skip


@pytest.mark.parametrize('name', ['ssdlite-deeplabv3_mbv2_sample', 'mobilenetv2_sample'])
def test_commands_of_models_without_one_peer_are_refused(name):
    with pytest.raises(UserError, match='a detector with mmdet or a segmentor with mmseg'):
        WORK['command'](arguments('command', name, tool='test', images=1))
