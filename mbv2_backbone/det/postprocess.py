"""From class scores to the few candidates that are worth decoding."""

from __future__ import annotations

import torch
from torch import Tensor


def select_candidates(
    scores: Tensor, level_of: Tensor, *, score_thr: float, max_per_level: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the pairs of prior and class above a score, at most so many on each level.

    Args:
        scores: `(P, C)` class scores of one image, in [0, 1].
        level_of: `(P,)` long, the feature level of each prior, rising.
        score_thr: A pair must be above it.
        max_per_level: The best so many of each level are kept; -1 keeps all.

    Returns:
        Scores `(K,)`, prior indices `(K,)` and class indices `(K,)`, by falling score.
    """
    prior_index, labels = (scores > score_thr).nonzero(as_tuple=True)
    kept = scores[prior_index, labels]
    order = kept.argsort(descending=True)
    kept, prior_index, labels = kept[order], prior_index[order], labels[order]
    if 0 < max_per_level < len(kept):
        level = level_of[prior_index]
        by_level = level.argsort(stable=True)
        counts = torch.bincount(level)
        start = counts.cumsum(0) - counts
        rank = torch.empty_like(level)
        rank[by_level] = torch.arange(len(level), device=level.device) - start[level[by_level]]
        within = rank < max_per_level
        kept, prior_index, labels = kept[within], prior_index[within], labels[within]
    return kept, prior_index, labels
