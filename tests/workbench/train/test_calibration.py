"""Training goes on from TensorFlow Lite's model, whose batch norms are folded in."""

import re

import pytest
import torch
from helpers.paths import ROOT
from helpers.small import tool

CONFIG = """
_base_ = {base!r}
data_root = {data!r}
classes = ('background', 'disc', 'square', 'triangle', 'star')
load_from = {weights!r}
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='BaseSegDataset',
        data_root=data_root,
        metainfo=dict(classes=classes),
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/train.txt',
        pipeline={{{{_base_.train_pipeline}}}},
    ),
)
model = dict(backbone=dict(norm_eval={norm_eval}), decode_head=dict(num_classes=5))
val_dataloader, val_evaluator, val_cfg = None, None, None
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=1)
randomness = dict(seed=0)
optim_wrapper = dict(optimizer=dict(lr=1e-6))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, save_best=None))
"""


def first_loss(folder, dataset, *, norm_eval):
    folder.mkdir()
    config = folder / 'config.py'
    config.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/deeplabv3_mbv2_voc12_tf-dm05.py'),
            data=f'{dataset}/',
            weights=str(ROOT / 'tests/data/tensorflow/deeplabv3_257_mv_gpu.tflite'),
            norm_eval=norm_eval,
        )
    )
    done = tool('train', config, '--work-dir', folder / 'run', '--no-amp')
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    assert 'batch norms were folded into their convolutions; they have the statistics' in text
    state = torch.load(folder / 'run' / 'iter_1.pth', weights_only=False)['state_dict']
    assert (state['backbone.conv1.bn.running_var'] - 0.999).abs().max() > 1
    return float(re.findall(r'\bloss: (\S+)', text)[-1])


@pytest.mark.slow
def test_normalising_by_the_batch_starts_where_the_file_ends(sample_dataset, tmp_path):
    by_file = first_loss(tmp_path / 'file', sample_dataset, norm_eval=True)
    by_batch = first_loss(tmp_path / 'batch', sample_dataset, norm_eval=False)
    assert by_batch == pytest.approx(by_file, rel=0.1)
