"""Settings, features and batches for SSDLite heads of ours and of mmdet."""

import torch
from helpers.networks import images
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

CHANNELS = (16, 24, 32)
STRIDES = (16, 32, 64)
NUM_CLASSES = 5


def anchor_generator():
    return dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=list(STRIDES),
        ratios=[[2, 3]] * 3,
        min_sizes=[24, 48, 90],
        max_sizes=[48, 90, 128],
    )


def head_config(**assigner):
    return dict(
        num_classes=NUM_CLASSES,
        in_channels=CHANNELS,
        use_depthwise=True,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='ReLU6'),
        anchor_generator=anchor_generator(),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        train_cfg=ConfigDict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.0,
                gt_max_assign_all=False,
            )
            | assigner,
            sampler=dict(type='PseudoSampler'),
            smoothl1_beta=1.0,
            allowed_border=-1,
            pos_weight=-1,
            neg_pos_ratio=3,
            debug=False,
        ),
        test_cfg=ConfigDict(
            nms_pre=50,
            nms=dict(type='nms', iou_threshold=0.45),
            min_bbox_size=0,
            score_thr=0.02,
            max_per_img=40,
        ),
    )


def truth_of(samples):
    """Return what `loss_by_feat` takes besides the outputs."""
    gts, ignored, metas = unpack_gt_instances(samples)
    return gts, metas, ignored


def random_batch(num_images, *, seed, size=(128, 128), pad_shapes=None, crowds=True):
    rng = torch.Generator().manual_seed(seed)

    def boxes(count):
        centre = torch.rand(count, 2, generator=rng) * torch.tensor([size[1], size[0]])
        half = 4 + torch.rand(count, 2, generator=rng) * 40
        limit = torch.tensor([size[1], size[0]] * 2)
        return torch.cat([centre - half, centre + half], 1).clamp(min=0).minimum(limit)

    samples = []
    for i in range(num_images):
        # Every third image is empty; some boxes occur twice, with different labels.
        count = 0 if i % 3 == 2 else int(torch.randint(1, 7, (), generator=rng))
        gt = boxes(count)
        gt = torch.cat([gt, gt[:1]]) if i % 2 else gt
        labels = torch.randint(0, NUM_CLASSES, (len(gt),), generator=rng)
        ignored = boxes(int(torch.randint(0, 3, (), generator=rng)) if crowds else 0)
        sample = DetDataSample(
            gt_instances=InstanceData(bboxes=gt, labels=labels),
            ignored_instances=InstanceData(
                bboxes=ignored, labels=torch.zeros(len(ignored), dtype=torch.long)
            ),
        )
        pad_shape = pad_shapes[i] if pad_shapes else size
        sample.set_metainfo(
            dict(
                img_shape=pad_shape,
                pad_shape=pad_shape,
                batch_input_shape=size,
                scale_factor=(0.5, 0.8),
            )
        )
        samples.append(sample)
    return samples


def features(num_images, seed, size=(128, 128)):
    return tuple(
        images(num_images, c, -(-size[0] // s), -(-size[1] // s), seed=seed + s)
        for c, s in zip(CHANNELS, STRIDES, strict=True)
    )
