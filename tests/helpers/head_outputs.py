"""A small SSDLite head without weights of interest, and random outputs of it."""

import torch

from mbv2_backbone.det import SSDLiteHead

NUM_CLASSES = 4
TEST_CFG = dict(
    score_thr=0.05,
    nms_pre=100,
    nms=dict(type='nms', iou_threshold=0.45),
    min_bbox_size=0,
    max_per_img=30,
)


def build_head(**kwargs):
    generator = dict(type='SSDLitePriorGenerator', num_levels=3)
    return SSDLiteHead(
        num_classes=NUM_CLASSES, in_channels=(8, 8, 8), anchor_generator=generator, **kwargs
    ).eval()


def outputs(head, num_images, seed, *, background=1.0):
    """Return class scores and box deltas; scores are quantised, so that many are equal."""
    rng = torch.Generator().manual_seed(seed)
    cls_scores, bbox_preds = [], []
    width = head.cls_out_channels
    for num, side in zip(head.num_base_priors, (8, 4, 2), strict=True):
        scores = torch.randn(num_images, num, width, side, side, generator=rng) * 1.5
        if head.use_sigmoid:
            scores -= background
        else:
            scores[:, :, -1] += background
        cls_scores.append((scores * 4).round().div(4).flatten(1, 2))
        bbox_preds.append(torch.randn(num_images, num * 4, side, side, generator=rng))
    if num_images > 2:  # an image without detections
        for scores in cls_scores:
            scores[1] = -20 if head.use_sigmoid else 0
            scores[1].view(-1, width, *scores.shape[2:])[:, NUM_CLASSES:] = 20
    metas = [
        dict(
            img_shape=(128 - 9 * i, 128 - 5 * i),
            batch_input_shape=(128, 128),
            scale_factor=(0.5 + 0.1 * i, 0.7),
        )
        for i in range(num_images)
    ]
    return cls_scores, bbox_preds, metas
