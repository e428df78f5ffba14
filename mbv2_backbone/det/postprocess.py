"""Postprocess class scores and boxes into detections, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf, log
from typing import NamedTuple

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms

# NMS compares all pairs of its boxes, so that a large call takes long on a CPU. On a GPU it takes
# longest to start a call.
_MAX_AT_ONCE = 256
_MAX_AT_ONCE_GPU = 10_000
_SLACK = 0.01  # margin of a logit, far above rounding errors


class Candidates(NamedTuple):
    """K pairs of prior and class, sorted by image and then by descending score.

    Attributes:
        image: `(K,)` long, the image in the batch.
        prior: `(K,)` long, the prior.
        label: `(K,)` long, the class.
        score: `(K,)`, in [0, 1].
    """

    image: Tensor
    prior: Tensor
    label: Tensor
    score: Tensor

    def at(self, indices: Tensor) -> Candidates:
        """Return the candidates at the indices `(L,)`."""
        return Candidates(*(values[indices] for values in self))


def flatten_levels(outputs: Iterable[Tensor], channels: int) -> Tensor:
    """Join a head's outputs over the levels, place by place and there prior by prior.

    Args:
        outputs: For each level `(N, A * C, H, W)`.
        channels: C, the numbers of a prior.

    Returns:
        `(N, P, C)`, float32.
    """
    return torch.cat(
        [out.permute(0, 2, 3, 1).reshape(len(out), -1, channels) for out in outputs], 1
    ).float()


def class_scores(logits: Tensor, *, use_sigmoid: bool) -> Tensor:
    """Return scores `(..., C)` in [0, 1] from logits.

    Args:
        logits: `(..., C + 1)` with the background last or, for a sigmoid, `(..., C)`.
        use_sigmoid: One sigmoid for each class instead of a softmax.
    """
    return logits.sigmoid() if use_sigmoid else logits.softmax(-1)[..., :-1]


def select_candidates(
    logits: Tensor,
    level_of: Tensor,
    *,
    score_thr: float,
    max_per_level: int,
    use_sigmoid: bool = False,
) -> Candidates:
    """Keep the pairs of prior and class above a score, up to a limit per level of each image.

    Args:
        logits: `(N, P, C + 1)` or `(N, P, C)`, as `class_scores` takes them.
        level_of: `(P,)` long, the feature level of each prior, ascending.
        score_thr: The score of a pair must be above it.
        max_per_level: How many of the best pairs of each level are kept; -1 keeps all.
        use_sigmoid: See `class_scores`.
    """
    num_images, num_priors, num_outputs = logits.shape
    rows = _may_exceed(logits, score_thr, use_sigmoid).flatten().nonzero().squeeze(1)
    scores = class_scores(logits.reshape(-1, num_outputs)[rows], use_sigmoid=use_sigmoid)
    row, label = (scores > score_thr).nonzero(as_tuple=True)
    score = scores[row, label]
    image, prior = rows[row] // num_priors, rows[row] % num_priors
    order = score.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    found = Candidates(*(values[order] for values in (image, prior, label, score)))
    if 0 < max_per_level < len(score):
        level = level_of[found.prior]
        group = level * num_images + found.image
        found = found.at(_true_at(_rank_in_group(group) < max_per_level))
    return found


def _may_exceed(logits: Tensor, score_thr: float, use_sigmoid: bool) -> Tensor:
    """Find priors `(N, P)` whose best class may exceed the threshold, without computing scores.

    In a softmax a class and the background share at most 1, so a class above `t` has at least
    `t / (1 - t)` times the score of the background.
    """
    if score_thr >= 1:
        odds = inf
    else:
        odds = log(score_thr / (1 - score_thr)) - _SLACK if score_thr > 0 else -inf
    if use_sigmoid:
        return logits.amax(-1) >= odds
    return logits[..., :-1].amax(-1) - logits[..., -1] >= odds


def _rank_in_group(group: Tensor) -> Tensor:
    """Return for each item how many items before it have the same group `(K,)`."""
    ordered, order = group.sort(stable=True)
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group), device=group.device) - _start_of(ordered, ordered)
    return rank


def _start_of(groups: Tensor, ordered: Tensor) -> Tensor:
    """Return where each group begins in what is `ordered` by group."""
    return torch.searchsorted(ordered, groups)


def _true_at(mask: Tensor) -> Tensor:
    """Return where a mask `(K,)` is true. A GPU's host waits, once for all that are indexed."""
    return mask.nonzero().squeeze(1)


def _numbers_like(rows: list, like: Tensor) -> Tensor:
    """Return numbers as a tensor with the dtype and device of another, without waiting for it."""
    return torch.tensor(rows, dtype=like.dtype).to(like.device, non_blocking=True)


def clip_to_images(
    boxes: Tensor,
    image: Tensor,
    batch_img_metas: Sequence[dict],
    factors: Tensor | None = None,
) -> Tensor:
    """Clip boxes to the images that they are on.

    Args:
        boxes: `(K, 4)` xyxy in pixels of the input, or of the original images.
        image: `(K,)` index of each one's image.
        batch_img_metas: For each image `img_shape`, its height and width in the input.
        factors: `(N, 2)`, what x and y were multiplied by to be pixels of the original images.
    """
    sides = _numbers_like([meta['img_shape'][1::-1] for meta in batch_img_metas], boxes)
    sides = sides if factors is None else sides * factors
    return boxes.clamp(min=0).minimum(sides.repeat(1, 2)[image])


def is_plain_nms(rules: dict | None) -> bool:
    """Tell whether a `test_cfg.nms` is greedy NMS within each class and nothing else."""
    return bool(rules) and set(rules) == {'type', 'iou_threshold'} and rules['type'] == 'nms'


def suppress_and_split(
    boxes: Tensor,
    found: Candidates,
    batch_img_metas: Sequence[dict],
    cfg: ConfigDict,
    *,
    num_classes: int,
    rescale: bool,
) -> list[InstanceData]:
    """Do what mmdet's `_bbox_post_process` does to each image, for all images at once.

    Args:
        boxes: `(K, 4)` xyxy of the candidates.
        found: The candidates.
        batch_img_metas: For each image `scale_factor`, used to rescale, and `img_shape`, used to
            clip.
        cfg: `min_bbox_size`, plain `nms` and `max_per_img` (-1 keeps all), as in mmdet's
            `test_cfg`; `clip_after_nms` as in `SSDLiteHead`.
        num_classes: Number of classes.
        rescale: Give boxes in pixels of the original image.

    Returns:
        For each image `bboxes`, `scores` and `labels`, by descending score.
    """
    if rescale:
        inverse = [[1 / factor for factor in meta['scale_factor']] for meta in batch_img_metas]
        factors = _numbers_like(inverse, boxes)
        boxes = boxes * factors.repeat(1, 2)[found.image]
    if cfg.get('min_bbox_size', -1) >= 0:
        is_large = (boxes[:, 2:] - boxes[:, :2] > cfg.min_bbox_size).all(1)
        large = _true_at(is_large)
        boxes, found = boxes[large], found.at(large)
    group = found.image * num_classes + found.label
    kept = _true_at(suppress(boxes, found.score, group, iou_threshold=cfg.nms.iou_threshold))
    boxes, found = boxes[kept], found.at(kept)
    if cfg.get('clip_after_nms', False):
        boxes = clip_to_images(boxes, found.image, batch_img_metas, factors if rescale else None)
        with_area = _true_at((boxes[:, 2:] > boxes[:, :2]).all(1))
        boxes, found = boxes[with_area], found.at(with_area)
    limit = cfg.max_per_img if cfg.get('max_per_img', -1) > 0 else None
    return split_by_image(boxes, found, len(batch_img_metas), limit)


def split_by_image(
    boxes: Tensor, found: Candidates, num_images: int, stop: int | None = None
) -> list[InstanceData]:
    """Return `bboxes`, `scores` and `labels` `[:stop]` of each image."""
    images = torch.arange(num_images + 1, device=found.image.device)
    counts = _start_of(images, found.image).diff().tolist()
    columns = (values.split(counts) for values in (boxes, found.score, found.label))
    # Slicing tensors is several times faster than slicing an InstanceData.
    return [
        InstanceData(bboxes=bboxes[:stop], scores=scores[:stop], labels=labels[:stop])
        for bboxes, scores, labels in zip(*columns, strict=True)
    ]


def suppress(boxes: Tensor, scores: Tensor, group: Tensor, *, iou_threshold: float) -> Tensor:
    """Run greedy NMS within each group.

    Args:
        boxes: `(K, 4)` xyxy.
        scores: `(K,)`; of equal ones the first is kept.
        group: `(K,)` long, 0 or more, such as image and class in one number.
        iou_threshold: A box that overlaps a better one by more is dropped.

    Returns:
        `(K,)` bool, which boxes are kept.
    """
    kept = torch.zeros_like(group, dtype=torch.bool)
    if not len(group):
        return kept
    # Groups are shifted apart. float32 would round the coordinates of the later ones, as in mmcv.
    boxes = boxes.double()
    boxes = boxes + (group * (boxes.max() - boxes.min() + 1))[:, None]
    order = group.argsort(stable=True)
    limit = _MAX_AT_ONCE if boxes.device.type == 'cpu' else _MAX_AT_ONCE_GPU
    sizes = [len(group)]
    if sizes[0] > limit:
        sizes = group[order].unique_consecutive(return_counts=True)[1].tolist()
    for part in order.split(list(_joined(sizes, limit))):
        kept[part[nms(boxes[part], scores[part].double(), iou_threshold)]] = True
    return kept


def _joined(sizes: list[int], limit: int) -> Iterator[int]:
    """Join neighbours until the next one would take the sum over the limit."""
    total = 0
    for size in sizes:
        if total and total + size > limit:
            yield total
            total = 0
        total += size
    yield total
