"""A batch of one image, whose 1x1 maps have one value for each channel, can be trained on.

torch raises "Expected more than 1 value per channel when training" there (torch 2.15,
torch.nn.functional.batch_norm), in the middle of an epoch if the image is what is left over.
"""

import re

import pytest
import torch
from helpers.paths import ROOT
from helpers.small import tool, write_small_config
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import RESIZES, load_config, task_of, walk
from mbv2_backbone.workbench.run import train
from mbv2_backbone.workbench.train.single_image import single_values_allowed

CONFIGS = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in str(path)
)


def norm():
    layer = nn.BatchNorm2d(3)
    layer.weight.data, layer.bias.data = torch.rand(3) + 0.5, torch.rand(3)
    layer.running_mean, layer.running_var = torch.rand(3), torch.rand(3) + 0.5
    return layer


def test_a_single_value_is_normalised_by_the_running_statistics():
    layer = norm()
    x = torch.rand(1, 3, 1, 1, requires_grad=True)
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        layer(x)
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    with single_values_allowed(nn.Sequential(layer)):
        out = layer(x)
    scale = layer.weight / (var + layer.eps).sqrt()
    wanted = (x[0, :, 0, 0] - mean) * scale + layer.bias
    torch.testing.assert_close(out[0, :, 0, 0], wanted)
    out.sum().backward()
    torch.testing.assert_close(x.grad[0, :, 0, 0], scale)
    assert torch.equal(layer.running_mean, mean)
    assert layer.training
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        layer(x)


def test_a_norm_that_is_shared_by_maps_of_several_sizes_changes_for_one_pixel_only():
    layer, reference = norm(), norm()
    reference.load_state_dict(layer.state_dict())
    maps = [torch.rand(1, 3, side, side) for side in (4, 1, 2)]
    with single_values_allowed(layer):
        outs = [layer(x) for x in maps]
    torch.testing.assert_close(outs[0], reference(maps[0]))
    torch.testing.assert_close(outs[1], reference.eval()(maps[1]))
    torch.testing.assert_close(outs[2], reference.train()(maps[2]))
    assert torch.equal(layer.running_mean, reference.running_mean)


def test_a_norm_that_is_kept_in_evaluation_stays_so():
    layer = norm().eval()
    with single_values_allowed(layer):
        layer(torch.rand(1, 3, 1, 1))
    assert not layer.training


def batch_of_one(cfg):
    """Return an image with what is on it, for detectors of the size that a config tests at."""
    if task_of(cfg) == 'cls':
        image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)  # 1x1 in the last map
        return dict(inputs=[image], data_samples=[BaseDataElement(gt_label=torch.tensor(0))])
    scales = (s.scale for s in walk(cfg.test_dataloader.dataset) if s.get('type') in RESIZES)
    width, height = next(scales) if task_of(cfg) != 'seg' else (65, 65)
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[5.0, 5.0, 60.0, 60.0]]), labels=torch.tensor([0])
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, height, width, dtype=torch.uint8))
    if task_of(cfg) == 'seg':
        from mmseg.structures import SegDataSample

        data = PixelData(data=torch.zeros(1, height, width, dtype=torch.long))
        sample = SegDataSample(gt_sem_seg=data, metainfo=sample.metainfo)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample])


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_every_configs_model_learns_from_one_image(name):
    cfg = load_config(str(ROOT / 'configs' / name))
    for part in walk(cfg.model):
        part.pop('init_cfg', None)
    model = MODELS.build(cfg.model).train()
    MessageHub.get_current_instance().update_info('iter', 0)  # of a multi-scale config
    batch = model.data_preprocessor(batch_of_one(cfg), True)
    with single_values_allowed(model):
        losses, _ = model.parse_losses(model(**batch, mode='loss'))
    losses.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 100
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def options(data, *more):
    return [
        f'data_root={data}/', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False',
        'val_dataloader.dataset.indices=2', *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('batch_size', 'images', 'steps'), [(4, 5, 2), (1, 3, 3), (16, 17, 2), (8, 1, 1)]
)
def test_a_detector_trains_on_what_is_left_over(
    sample_dataset, tmp_path, batch_size, images, steps
):
    path = write_small_config(tmp_path / 'small.py', sample_dataset)
    more = [
        'train_cfg.max_epochs=2', f'train_dataloader.batch_size={batch_size}',
        f'train_dataloader.dataset.indices={images}',
    ]  # fmt: skip
    train(str(path), work_dir=str(tmp_path), cfg_options=options(sample_dataset, *more))
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert saved['meta']['iter'] == 2 * steps


@pytest.mark.slow
@pytest.mark.parametrize('name', ['deeplabv3_mbv2_sample', 'ssdlite-deeplabv3_mbv2_sample'])
def test_the_other_tasks_train_in_batches_of_one(sample_dataset, tmp_path, name):
    length = 'train_cfg.max_epochs=1' if 'ssd' in name else 'train_cfg.max_iters=3'
    more = ['train_dataloader.batch_size=1', 'train_dataloader.dataset.indices=3', length]
    result = tool(
        'train', ROOT / f'configs/{name}.py', '--work-dir', tmp_path,
        '--cfg-options', *options(sample_dataset, *more, 'default_hooks.logger.interval=1'),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    assert log.count('A batch of one image') == 1
    losses = re.findall(r'train.*\bloss: ([\d.]+)', log)
    assert len(losses) == 3


@pytest.mark.parametrize('loop', ['EpochBasedTrainLoop', 'IterBasedTrainLoop'])
def test_an_epoch_without_a_batch_is_refused_before_it_begins(sample_dataset, tmp_path, loop):
    # An iteration-based training would look for its first batch for ever.
    length = dict(EpochBasedTrainLoop='max_epochs', IterBasedTrainLoop='max_iters')[loop]
    more = f"""
    train_cfg = dict(_delete_=True, type={loop!r}, {length}=3, val_interval=3)
    train_dataloader['drop_last'] = True
    """
    path = write_small_config(tmp_path / 'small.py', sample_dataset, more, batch_size=25)
    with pytest.raises(UserError, match=r'epoch of 24 .*no batch; drop_last.*at most 24'):
        train(str(path), work_dir=str(tmp_path))
