"""Two processes over gloo do what one does with the same images; a dead one ends the run."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from resume_util import ROOT, environment, write_config

from mbv2_backbone.engine import run
from mbv2_backbone.seg.losses import pixel_cross_entropy

# All images, in order, without noise and without statistics of a process' own batch.
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
"""


def torchrun(script, *args, timeout=600):
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone',
        *map(str, (script, *args)),
    ]  # fmt: skip
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def torchrun_train(config, work_dir, *options, timeout=600):
    args = (config, '--launcher', 'pytorch', '--work-dir', work_dir, *options)
    return torchrun(ROOT / 'tools/train.py', *args, timeout=timeout)


def scalars(work_dir, key):
    path = next(work_dir.glob('*/vis_data/scalars.json'))
    return [row[key] for row in map(json.loads, path.read_text().splitlines()) if key in row]


@pytest.fixture(scope='module')
def odd_set(sample_set):
    """The sample set with an odd number of images to validate on."""
    path = sample_set / 'annotations/val.json'
    content = json.loads(path.read_text())
    content['images'] = content['images'][:7]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    (sample_set / 'annotations/odd.json').write_text(json.dumps(content))
    return sample_set / 'annotations/odd.json'


def test_two_processes_train_and_evaluate_as_one(sample_set, odd_set, tmp_path):
    odd = f"""
    val_dataloader['dataset']['ann_file'] = 'annotations/odd.json'
    val_dataloader['batch_size'] = 2
    val_evaluator['ann_file'] = {str(odd_set)!r}
    test_dataloader, test_evaluator = val_dataloader, val_evaluator
    """
    config = write_config(tmp_path / 'a.py', sample_set, PARITY)
    with open(config, 'a') as file:
        file.write('\n'.join(line.strip() for line in odd.splitlines()))
    run.train(config, work_dir=str(tmp_path / 'one'))
    result = torchrun_train(
        config, tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=4'
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

    files = sorted(path.name for path in (tmp_path / 'two').glob('*/*.log'))
    assert len(files) == 1
    assert len(list((tmp_path / 'two').glob('*/vis_data/scalars.json'))) == 1
    evaluated = json.loads((tmp_path / 'two/evaluated.json').read_text())
    assert sorted(evaluated) == sorted(set(evaluated))
    assert len(evaluated) == 7
    one, two = (scalars(tmp_path / name, 'coco/bbox_mAP') for name in ('one', 'two'))
    assert np.allclose(one, two, atol=2e-3)


def test_a_rank_that_dies_ends_the_run_with_its_error(sample_set, tmp_path):
    hook = "custom_hooks.append(dict(type='DieOnRankOne', step=2))"
    config = write_config(tmp_path / 'a.py', sample_set, hook)
    result = torchrun_train(config, tmp_path / 'work', timeout=300)
    assert result.returncode != 0
    assert 'rank one has had enough' in result.stderr


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
