"""In a notebook: what is shown below a cell, and what an interrupted one leaves."""

import pytest
from helpers.notebook import kernel_in
from helpers.resume import assert_same, states, write_config

from mbv2_backbone.workbench.run import train

pytestmark = pytest.mark.slow
IMPORTS = 'from mbv2_backbone.workbench.api import *'
ONE_EPOCH = 'train_cfg.update(max_epochs=1, val_interval=1)\n'
SECOND_PRESS = """
import os, signal, time
from mbv2_backbone.workbench.train.signals import stop_signals
with stop_signals():
    print('ready', flush=True)
    while True:
        time.sleep(1.2)
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture(scope='module')
def kernel(tmp_path_factory):
    with kernel_in(tmp_path_factory.mktemp('notebook')) as kernel:
        yield kernel


def test_progress_and_pictures_are_below_the_cell(kernel, sample_dataset, tmp_path):
    kernel.run(f'{IMPORTS}\ncheck_data({str(sample_dataset)!r}, task="det")')
    bar, report = kernel.shown
    assert 'Checking images' in bar['text/html']
    assert '32/32' in bar['text/html']
    assert report['text/plain'].startswith(f'{sample_dataset}: coco')
    kernel.run(f"show({str(sample_dataset)!r}, 'sheet.png', num=2)")
    assert len(kernel.values('image/png')) == 1
    config = write_config(tmp_path / 'a.py', sample_dataset, ONE_EPOCH)
    kernel.run(f'train({config!r})')
    assert len(kernel.values('image/png')) == 1  # the curves, drawn anew in their place
    assert 'Epoch(train)' in kernel.text
    assert 'Hooks will be executed' not in kernel.text
    kernel.run(f"evaluate({config!r}, 'last', report=True)")
    page, metrics = kernel.shown
    assert '<iframe srcdoc="&lt;!doctype html' in page['text/html'].replace('DOCTYPE', 'doctype')
    assert 'a cell of a notebook' in page['text/html']
    assert 'ipykernel' not in page['text/html']
    assert 'coco/bbox_mAP' in metrics['text/plain']
    kernel.run(f"predict({config!r}, 'last', {str(sample_dataset / 'JPEGImages')!r})")
    assert len(kernel.values('image/jpeg')) == 1
    assert '32/32' in kernel.shown[0]['text/html']
    kernel.run(f"export({config!r}, 'last', to='onnx')")
    assert kernel.shown[-1]['text/plain'].endswith('Wrote exported/a.onnx')


@pytest.mark.parametrize('place', ['[1][1/3]', 'Saving checkpoint'], ids=['training', 'epoch'])
def test_an_interrupted_training_goes_on_in_the_same_kernel(
    kernel, sample_dataset, tmp_path, place
):
    """The interrupt reaches the loader's processes, too."""
    whole = write_config(tmp_path / 'whole.py', sample_dataset)
    train(whole, work_dir=str(tmp_path / 'whole'))
    config, work = write_config(tmp_path / 'a.py', sample_dataset), tmp_path / 'work'
    kernel.run(f'{IMPORTS}\ntrain({config!r}, work_dir={str(work)!r})', interrupt_at=place)
    name, message, traceback = kernel.error
    assert name == 'KeyboardInterrupt'
    assert message == f"saved {work}/interrupted.pth; continue with: train(…, resume='auto')"
    assert 'DataLoader worker' not in traceback
    kernel.run(f"train({config!r}, work_dir={str(work)!r}, resume='auto')")
    assert kernel.error is None
    assert_same(work / 'epoch_2.pth', states(tmp_path / 'whole/epoch_2.pth'))


def test_a_second_interrupt_leaves_the_kernel_alive(kernel):
    kernel.run(SECOND_PRESS, interrupt_at='ready')
    assert kernel.error[:2] == (
        'KeyboardInterrupt', 'stopped at once; the step under way is not saved',
    )  # fmt: skip
    assert kernel.run('6 * 7').shown[0]['text/plain'] == '42'


@pytest.mark.parametrize('call', ["evaluate({!r}, 'last')", "predict({!r}, 'last', [{!r}] * 9)"])
def test_other_calls_can_be_interrupted(kernel, sample_dataset, tmp_path, call):
    config = write_config(tmp_path / 'a.py', sample_dataset, ONE_EPOCH)
    photos = str(sample_dataset / 'JPEGImages')
    train(config, work_dir=str(tmp_path / 'work'))
    start = f"{IMPORTS}\nprint('ready', flush=True)\n"
    work = f'{tmp_path}/work/epoch_1.pth'
    kernel.run(start + call.format(config, photos).replace('last', work), interrupt_at='ready')
    assert kernel.error[0] == 'KeyboardInterrupt'
    kernel.run(call.format(config, photos).replace('last', work))
    assert kernel.error is None
