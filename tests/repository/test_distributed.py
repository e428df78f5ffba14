"""Two processes over gloo train and evaluate as one does; if one dies, the run ends."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.distributed import torchrun, torchrun_train
from helpers.resume import assert_same, environment, scalars, states, write_config

from mbv2_backbone.seg.losses import pixel_cross_entropy
from mbv2_backbone.workbench import run

# All images, in order, without noise and without the statistics of a process' own batch.
PARITY = """
train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=False)
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackDetInputs'),
]
model['backbone']['norm_eval'] = True
model['neck']['norm_cfg'] = dict(type='BN', eps=0.001, momentum=0.1, requires_grad=True)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9))
param_scheduler = []
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
custom_hooks = [dict(type='FrozenNorms'), dict(type='KeepGradients')]
"""

# One of two runs is killed.
CUT = """
import sys
import mbv2_backbone
from helpers.resume import SignalHook, toy_config, train_toy
from mbv2_backbone.compat.prepare import end_joined_process, join_cpu_processes
from mbv2_backbone.weights.whole_model import newest_resumable

def config(name):
    cfg = toy_config(f'{sys.argv[1]}/{name}', length=4, launcher='pytorch')
    join_cpu_processes(cfg)
    return cfg

if sys.argv[2] == 'kill':
    train_toy(config('whole'))
    train_toy(config('cut'), hooks=[SignalHook(9, step=6)])
train_toy(config('cut'), resume=newest_resumable(f'{sys.argv[1]}/cut', print))
end_joined_process()
"""

# Each process has one of two images, with few and with many ignored pixels.
PIXELS = """
import sys
import torch
from torch import distributed
from mbv2_backbone.seg.losses import pixel_cross_entropy

distributed.init_process_group('gloo')
rank = distributed.get_rank()
logits, labels = torch.load(sys.argv[1])
logits = logits[rank:rank + 1].requires_grad_()
loss = pixel_cross_entropy(logits, labels[rank:rank + 1])
loss.backward()
torch.save((loss.detach(), logits.grad), f'{sys.argv[1]}.{rank}')
distributed.destroy_process_group()
"""

# Prints what happens as a process ends. argv: the backend to join with, or nothing.
ENDS = """
import atexit
import sys
import threading
import time
from torch import distributed
from mbv2_backbone.compat.prepare import end_joined_process

class Object:
    def __del__(self):
        print('finalised', end=' ')

def work():
    time.sleep(0.3)
    print('worked', end=' ')

kept = Object()
atexit.register(print, 'left', end=' ')
threading.Thread(target=work).start()
if sys.argv[1]:
    store = distributed.HashStore()
    distributed.init_process_group(sys.argv[1], store=store, rank=0, world_size=1)
end_joined_process()
print('went on', end=' ')
"""


@pytest.fixture(scope='module')
def odd_dataset(sample_dataset):
    """The annotations of an odd number of validation images of the sample dataset."""
    path = sample_dataset / 'annotations/val.json'
    content = json.loads(path.read_text())
    content['images'] = content['images'][:7]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    (sample_dataset / 'annotations/odd.json').write_text(json.dumps(content))
    return sample_dataset / 'annotations/odd.json'


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(sample_dataset, odd_dataset, tmp_path):
    odd = f"""
    val_dataloader['dataset']['ann_file'] = 'annotations/odd.json'
    val_dataloader['batch_size'] = 2
    val_evaluator['ann_file'] = {str(odd_dataset)!r}
    test_dataloader, test_evaluator = val_dataloader, val_evaluator
    """
    config = write_config(tmp_path / 'a.py', sample_dataset, PARITY)
    with open(config, 'a', encoding='utf-8') as file:
        file.write('\n'.join(line.strip() for line in odd.splitlines()))
    run.train(config, work_dir=str(tmp_path / 'one'), amp=False)
    result = torchrun_train(
        config, tmp_path / 'two', '--no-amp', '--cfg-options', 'train_dataloader.batch_size=4'
    )
    assert result.returncode == 0, result.stderr[-3000:]

    for key in ('loss', 'loss_cls', 'loss_bbox'):
        one, two = (scalars(tmp_path / name, key) for name in ('one', 'two'))
        assert len(one) == len(two) == 3
        assert two == pytest.approx(one, rel=1e-5)
    one, two = (torch.load(tmp_path / name / 'gradients.pth') for name in ('one', 'two'))
    assert max(float(grad.abs().max()) for grad in one.values()) > 0.1
    for name, grad in one.items():
        limit = 1e-5 * max(1e-2, float(grad.abs().max()))
        assert float((two[name] - grad).abs().max()) <= limit, name

    assert not list((tmp_path / 'two').glob('finalised*'))

    files = sorted(path.name for path in (tmp_path / 'two').glob('*/*.log'))
    assert len(files) == 1
    assert len(list((tmp_path / 'two').glob('*/vis_data/scalars.json'))) == 1
    evaluated = json.loads((tmp_path / 'two/evaluated.json').read_text())
    assert sorted(evaluated) == sorted(set(evaluated))
    assert len(evaluated) == 7
    one, two = (scalars(tmp_path / name, 'coco/bbox_mAP') for name in ('one', 'two'))
    assert np.allclose(one, two, atol=2e-3)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_with_its_error(sample_dataset, tmp_path):
    hook = "custom_hooks.append(dict(type='DieOnRankOne', step=2))"
    config = write_config(tmp_path / 'a.py', sample_dataset, hook)
    result = torchrun_train(config, tmp_path / 'work', timeout=300)
    assert result.returncode != 0
    assert 'rank one has had enough' in result.stderr


@pytest.mark.slow
def test_a_run_of_two_processes_resumes_exactly(tmp_path):
    """SIGKILL in the third of four epochs of two steps."""
    script = tmp_path / 'cut.py'
    script.write_text(CUT)
    result = torchrun(script, tmp_path, 'kill', timeout=300)
    assert 'Signal 9 (SIGKILL)' in result.stderr, result.stderr[-3000:]
    assert sorted(path.name for path in (tmp_path / 'cut').glob('*.pth')) == [
        'epoch_1.pth', 'epoch_2.pth',
    ]  # fmt: skip
    result = torchrun(script, tmp_path, 'resume', timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert_same(tmp_path / 'cut/epoch_4.pth', states(tmp_path / 'whole/epoch_4.pth'))


@pytest.fixture
def broken_dataset(sample_dataset, tmp_path):
    """The sample dataset with its second and twelfth image truncated."""
    shutil.copytree(sample_dataset, tmp_path / 'dataset')
    data = json.loads((tmp_path / 'dataset/annotations/train.json').read_text())
    paths = [tmp_path / 'dataset/JPEGImages' / data['images'][i]['file_name'] for i in (1, 11)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-300])
    return tmp_path / 'dataset', [str(path) for path in paths]


@pytest.mark.slow
def test_broken_images_of_the_second_process_are_named_and_counted(broken_dataset, tmp_path):
    """It gets every second image, in order: one broken image is allowed, two are too many."""
    folder, paths = broken_dataset
    in_order = "train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=False)"
    config = write_config(tmp_path / 'a.py', folder, in_order)
    options = ('check_images=False', 'max_broken_images=0.05', 'train_dataloader.batch_size=4')
    result = torchrun_train(config, tmp_path / 'work', '--cfg-options', *options, timeout=300)
    assert result.returncode != 0
    assert '2 of 24 training images are broken' in result.stderr, result.stderr[-3000:]
    assert len(scalars(tmp_path / 'work', 'loss')) == 1
    (log,) = (tmp_path / 'work').glob('*/*.log')
    for path in paths:
        said = f'{path} is truncated or damaged; another image replaces it'
        assert log.read_text().count(said) == 1


def test_ignored_pixels_count_alike_in_one_process_and_in_two(tmp_path):
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 8, 8))
    labels[0, :7] = 255
    labels[1, 0] = 255
    torch.save((logits, labels), tmp_path / 'in')
    (tmp_path / 'pixels.py').write_text(PIXELS)
    result = torchrun(tmp_path / 'pixels.py', tmp_path / 'in', timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    outs = [torch.load(tmp_path / f'in.{rank}') for rank in (0, 1)]
    logits.requires_grad_()
    loss = pixel_cross_entropy(logits, labels)
    loss.backward()
    # DDP averages the gradients, and the logged loss is the mean as well.
    torch.testing.assert_close(sum(out[0] for out in outs) / 2, loss.detach())
    torch.testing.assert_close(torch.cat([out[1] for out in outs]) / 2, logits.grad)


@pytest.mark.parametrize(
    ('backend', 'expected'), [('', 'went on worked left finalised'), ('gloo', 'worked left')]
)
def test_a_process_over_gloo_ends_without_being_finalised(tmp_path, backend, expected):
    (tmp_path / 'ends.py').write_text(ENDS)
    command = [sys.executable, str(tmp_path / 'ends.py'), backend]
    buffered = dict(environment(), PYTHONUNBUFFERED='')
    result = subprocess.run(command, env=buffered, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == expected.split()
