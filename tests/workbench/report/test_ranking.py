"""The best and worst images of an evaluation."""

import numpy as np
import pytest

from mbv2_backbone.workbench.report.ranking import Extremes, RankedImage


def ranked(rank, path='x'):
    return RankedImage(path, (4, 4), (rank,), {}, None)


@pytest.mark.parametrize('num_images', [0, 1, 5, 8, 50])
def test_extremes_are_the_ends_of_the_sorted_list(num_images):
    ranks = np.random.default_rng(num_images).permutation(num_images).tolist()
    parts = Extremes(4), Extremes(4)
    made = []
    for i, rank in enumerate(ranks):
        parts[i % 2].add((rank,), lambda rank=rank: made.append(rank) or ranked(rank))
    parts[0].merge(parts[1:])
    worst, best = parts[0].worst_and_best()
    num_worst = min(4, -(-num_images // 2))
    assert [i.rank[0] for i in worst] == sorted(ranks)[:num_worst]
    num_best = min(4, num_images - num_worst)
    assert [i.rank[0] for i in best] == sorted(ranks, reverse=True)[:num_best]
    assert len(made) < max(30, num_images)
