"""The scores of the boxes that SSDLite keeps, as tensors with a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ..det.head import SSDLiteHead


def box_scores(
    head: SSDLiteHead, feats: tuple[Tensor, ...], meta: dict, *, score_thr: float
) -> dict[int, Tensor]:
    """Sum up the logits of the kept boxes of each class.

    Logits, because the softmax of a sure box is flat: its gradient is nearly 0.

    Args:
        head: The detection head.
        feats: For each level `(1, C, H, W)`.
        meta: Of the image: `img_shape` and `batch_input_shape`.
        score_thr: Of the boxes that count.

    Returns:
        A scalar for each label that was found, by falling score of its best box.
    """
    levels, box_codes = head(feats)
    (found,) = head.predict_by_feat(levels, box_codes, batch_img_metas=[meta])
    found = found[found.scores >= score_thr]
    by_prior = [x.permute(0, 2, 3, 1).reshape(-1, head.cls_out_channels) for x in levels]
    logits = torch.cat(by_prior)
    scores = logits.detach().softmax(-1)
    sums: dict[int, Tensor] = {}
    for score, label in zip(found.scores, found.labels.tolist(), strict=True):
        # The prior of a box is known by its score. Sure ones may share it, and then their mean.
        distance = (scores[:, label] - score).abs()
        logit = logits[distance == distance.min(), label].mean()
        sums[label] = sums.get(label, 0) + logit
    return sums
