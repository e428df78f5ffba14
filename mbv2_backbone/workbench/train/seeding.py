"""Seed each step from its position in the run, so that a resumed run draws the same numbers.

Each batch of images and each step has a seed made of the run's seed, the rank and the position. So
a resumed run needs no states of random generators, neither of this process nor of the loader
workers, and the number of loader workers changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice

import numpy as np
import torch
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


def seed_from(key: Sequence[int]) -> int:
    """Mix non-negative integers into one 32-bit seed."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def seed_step(*key: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    seed = seed_from(key)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restore the generators of Python, NumPy and torch's CPU on exit."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SeededBatch(list):
    """Indices of a batch that seed the generators before each image is loaded.

    torch's loaders fetch with `[dataset[i] for i in batch]`, in this process or another.

    Args:
        indices: Indices into the dataset.
        key: Non-negative integers that identify this batch.
    """

    def __init__(self, indices: Sequence[int], key: Sequence[int]) -> None:
        super().__init__(indices)
        self.key = tuple(key)

    def __iter__(self) -> Iterator[int]:
        with kept_random_state():
            for place, index in enumerate(super().__iter__()):
                seed = seed_from((*self.key, place))
                random.seed(seed)
                np.random.seed(seed)
                torch.default_generator.manual_seed(seed)
                yield index

    def __reduce__(self) -> tuple:
        # By default pickle would iterate over the batch, which seeds the process that sends it.
        return SeededBatch, (self[:], self.key)


@DATA_SAMPLERS.register_module()
class PlacedBatchSampler:
    """Batches of an epoch from any position on; earlier ones are not loaded.

    There are none until `start` is called.

    Args:
        sampler: Sampler of the indices.
        batch_size: Images in a batch.
        batch_sampler: Config of another batch sampler to take the batches from.
        drop_last: Drop an incomplete last batch; for the default batch sampler only.
        endless: Continue with the next epoch.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        *,
        batch_sampler: dict | None = None,
        drop_last: bool = False,
        endless: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self._endless = endless
        self._start: tuple[Sequence[int], int, int] | None = None
        if batch_sampler is None:
            self._batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self._batches = DATA_SAMPLERS.build(
                batch_sampler, default_args=dict(sampler=sampler, batch_size=batch_size)
            )

    def start(self, key: Sequence[int], *, epoch: int, first: int) -> None:
        """Choose where the next iteration over the batches starts.

        Args:
            key: Non-negative integers that the seeds of this iteration have in common.
            epoch: Counted from 0; the samplers' shuffling depends on it.
            first: The first batch, counted from 0.
        """
        self._start = key, epoch, first

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        if self._start is None:
            return
        key, epoch, first = self._start
        for i, batch in enumerate(islice(self._indices(epoch), first, None), first):
            yield SeededBatch(batch, (*key, i))

    def _indices(self, first_epoch: int) -> Iterator[list[int]]:
        for epoch in count(first_epoch) if self._endless else (first_epoch,):
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self._batches
