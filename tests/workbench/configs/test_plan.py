"""A run is planned by steps that leave their config alone and can be explained."""

from dataclasses import FrozenInstanceError

import pytest
from helpers.small import tool
from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine, fit_machine
from mbv2_backbone.workbench.configs.plan import apply_steps, differences, step
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.start import Start
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.run import training_plan


@step('double', 'Twice as much.')
def double(cfg, key, *, times=2):
    cfg[key] *= times


VIS_BACKENDS = ('LocalVisBackend', 'SafeLocalVisBackend')


def test_a_step_leaves_its_config_alone():
    cfg = Config(dict(a=1, b=dict(c=[1, 2])))
    changed = apply_steps(cfg, [double('a'), double('a', times=5)])
    assert (cfg.a, changed.a) == (1, 10)
    changed.b.c.append(3)
    assert cfg.b.c == [1, 2]


def test_steps_are_explained_in_order():
    told = []
    apply_steps(Config(dict(a=1, b=3)), [double('b'), double('a', times=1)], told.append)
    assert told == [
        'double: Twice as much.\n  ~ b: 3 -> 6',
        'double: Twice as much.\n  changes nothing',
    ]


@pytest.mark.parametrize(
    ('before', 'after', 'lines'),
    [
        (dict(), dict(), []),
        (dict(a=1), dict(a=1), []),
        (dict(a=1), dict(a=2), ['~ a: 1 -> 2']),
        (dict(a=1), dict(a=True), ['~ a: 1 -> True']),
        (dict(a=dict(b=[1])), dict(a=dict(b=[1, dict(c=2)])), ['+ a.b.1.c = 2']),
        (dict(a=dict(b=1)), dict(a=dict()), ['- a.b = 1', '+ a = {}']),
        (dict(a=(1,)), dict(), ['- a.0 = 1']),
    ],
)
def test_differences(before, after, lines):
    assert list(differences(Config(before), Config(after))) == lines


@pytest.mark.parametrize(
    ('name', 'task', 'num_boxes', 'num_masks'),
    [
        ('ssdlite_mbv2_coco.py', 'det', 80, 0),
        ('deeplabv3_mbv2_voc12aug.py', 'seg', 0, 21),
        ('ssdlite-deeplabv3_mbv2_sample.py', 'joint', 4, 5),
    ],
)
def test_a_summary_agrees_with_the_config(name, task, num_boxes, num_masks):
    cfg = load_config(name, work_dir='elsewhere')
    summary = summarise(cfg)
    assert (summary.task, summary.work_dir) == (task, 'elsewhere')
    for classes, number in (
        (summary.box_classes(), num_boxes),
        (summary.mask_classes(), num_masks),
    ):
        assert len(classes.names) == len(classes.palette) == number
    inner = cfg.train_dataloader.dataset
    while 'dataset' in inner:
        inner = inner.dataset
    if 'datasets' in inner:
        inner = inner.datasets[0]
    assert summary.datasets['train'][0].config == inner
    assert summary.of(('val', 'test')) == [*summary.datasets['val'], *summary.datasets['test']]


def test_a_summary_cannot_be_changed():
    summary = summarise(load_config('ssdlite_mbv2_sample.py'))
    with pytest.raises(FrozenInstanceError):
        summary.task = 'seg'
    with pytest.raises(TypeError):
        summary.datasets['train'] = ()


def test_classes_that_no_dataset_names_are_refused_with_a_fix():
    cfg = load_config('ssdlite_mbv2_coco.py', ['train_dataloader.dataset.type=BaseDataset'])
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = dict(type='BaseDataset', data_root='x')
    summary = summarise(cfg)
    assert summary.boxes is None
    with pytest.raises(UserError, match=r'put `classes = \(\.\.\.\)` at the top'):
        summary.box_classes()


def test_each_step_of_a_training_says_why_in_one_sentence():
    cfg = load_config('deeplabv3_mbv2_sample.py')
    plan = training_plan(summarise(cfg), detect_machine(), start=Start())
    names = [planned.name for planned in plan]
    assert names[:2] == ['processes', 'machine']
    assert len(set(names)) == len(names) > 8
    for planned in plan:
        assert planned.reason.endswith('.')
        assert planned.reason.count('.') == 1


def test_fitting_the_machine_does_not_touch_what_was_loaded():
    cfg = load_config('ssdlite_mbv2_sample.py')
    text = cfg.pretty_text
    planned = apply_steps(cfg, [fit_machine(detect_machine())])
    assert cfg.pretty_text == text
    assert planned.default_hooks.runtime_info.type == 'DeferredRuntimeInfoHook'


def test_explain_shows_the_plan_and_trains_nothing(tmp_path):
    work_dir = tmp_path / 'run'
    options = [
        '--cfg-options',
        'classes=(disc,square)',
        'compile=True',
    ]
    args = ['deeplabv3_mbv2_sample.py', '--work-dir', work_dir, '--track', 'mlflow', *options]
    done = tool('train', *args, '--explain')
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout[done.stdout.index('classes:') :].splitlines()  # the toolboxes print first
    steps = [line.partition(':')[0] for line in lines if not line.startswith('  ')]
    assert steps[:2] == ['classes', 'output stride']
    assert steps[-4:] == ['robustness', 'start', 'compile', 'image loader']
    assert '  ~ model.decode_head.num_classes: 5 -> 2' in lines
    assert '  - compile = True' in lines
    kept, safe = (f"visualizer.vis_backends.{x}.type = '{x}'" for x in VIS_BACKENDS)
    assert {f'  - {kept}', f'  + {safe}'} <= set(lines)
    assert not work_dir.exists()


def test_explain_of_a_test(tmp_path):
    done = tool('test', 'ssdlite_mbv2_sample.py', 'none.pth', '--explain', '--work-dir', tmp_path)
    assert done.returncode == 2
    assert 'none.pth' in done.stderr
