"""Training steps by name: ours in this process, each peer in its own process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from typing import TypeVar

from common import NO_BLOCK_CACHE

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import detect_machine, keep_freed_memory
from mbv2_backbone.workbench.configs.read import load_config

from .conditions import set_threads, synchronizer
from .inputs import Size
from .peers import FIXED_NORM, NO_WEIGHTS
from .timing import Call
from .training import ours_step, peer_step

NOTES = (
    NO_WEIGHTS + '; the learning rate is 0, so that each step does the same work',
    'generated images and annotations, 7 boxes per image on average, the same for all',
)
ONE_IMAGE = (
    'with a batch of one image, batch norms of maps of one pixel use their running statistics, as '
    'in tools/train.py; the toolboxes raise an error there'
)
OWN_PROCESSES = (
    'ours keeps freed memory (glibc mallopt, as tools/train.py does on a CPU), and each peer runs '
    'as shipped in a process of its own; --no-keep-freed-memory measures all in one process '
    'without it'
)

T = TypeVar('T')


@dataclass(frozen=True)
class StepJob:
    """What a process needs to prepare a training step.

    Attributes:
        config: Path of our config.
        batch_size: Images in a step.
        size: Height and width of the images.
        threads: CPU threads.
        width: Width multiplier of an SSDLite and of mmdet's; `None` leaves each its own.
        who: `ours` or a peer: `mmdet`, `mmseg`, `torchvision`.
        cfg_options: Overrides of our config.
        amp: Mixed precision of ours; `None` chooses what fits the machine.
        keeps_memory: Let ours keep freed memory on a CPU, as tools/train.py does.
        with_cp: Compute the activations of our backbone again in the backward pass.
        channels_last: Put a peer into that memory format.
    """

    config: str
    batch_size: int
    size: Size
    threads: int
    width: float | None = None
    who: str = 'ours'
    cfg_options: tuple[str, ...] = ()
    amp: bool | None = None
    keeps_memory: bool = True
    with_cp: bool = False
    channels_last: bool = False


def build_step(job: StepJob) -> Call:
    """Prepare a step in this process."""
    set_threads(job.threads)
    machine = detect_machine(amp=job.amp)
    cfg = load_config(job.config, list(job.cfg_options) or None)
    settings = dict(batch_size=job.batch_size, size=job.size, width=job.width)
    if job.who != 'ours':
        return peer_step(job.who, cfg, machine, channels_last=job.channels_last, **settings)
    if job.keeps_memory and machine.device == 'cpu':
        keep_freed_memory()
    return ours_step(cfg, machine, with_cp=job.with_cp, **settings)


class StepProcess:
    """A process for one job; it ends with this object.

    Args:
        job: What its functions are called with.
    """

    def __init__(self, job: StepJob) -> None:
        self._job = job
        # A forked process would have this one's malloc settings.
        self._pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'))
        is_kept = job.who == 'ours' and job.keeps_memory
        with _glibc_tunables(NO_BLOCK_CACHE if is_kept else ''):
            self._pool.submit(os.getpid).result()  # starts it

    def ask(self, function: Callable[[StepJob], T]) -> T:
        """Call a module's function with the job, in the process.

        Raises:
            UserError: If the process dies.
        """
        try:
            return self._pool.submit(function, self._job).result()
        except BrokenProcessPool as error:
            raise UserError(
                f'the process of {self._job.who} died, perhaps because memory ran out; try a '
                f'smaller --batch-size than {self._job.batch_size}'
            ) from error


@contextmanager
def _glibc_tunables(settings: str) -> Iterator[None]:
    before = os.environ.get('GLIBC_TUNABLES', '')
    os.environ['GLIBC_TUNABLES'] = settings
    try:
        yield
    finally:
        os.environ['GLIBC_TUNABLES'] = before


build_once = cache(build_step)


def run_step(job: StepJob) -> None:
    """Run a job's step in this process, which keeps it for the next call, to its end."""
    build_once(job)()
    if wait := synchronizer(detect_machine()):
        wait()


def step_elsewhere(job: StepJob) -> Call:
    """Return a call that runs a job's step in a process of its own.

    What a call takes beside its step is below a millisecond.
    """
    process = StepProcess(job)
    process.ask(run_step)
    return lambda: process.ask(run_step)


def training_calls(
    job: StepJob,
    peers: Sequence[str],
    *,
    own_processes: bool = False,
    peer_channels_last: bool = False,
) -> tuple[dict[str, Call], list[str]]:
    """Prepare the steps that are timed.

    Args:
        job: The step of ours.
        peers: Of `mmdet`, `mmseg`, `torchvision`.
        own_processes: Run each peer in a process of its own.
        peer_channels_last: Also time each peer in that memory format.

    Returns:
        The calls by name, ours first, and notes.
    """
    jobs = {peer: replace(job, who=peer) for peer in peers}
    if peer_channels_last:
        jobs |= {
            f'{peer}, channels_last': replace(peer_job, channels_last=True)
            for peer, peer_job in jobs.items()
        }
    prepare = step_elsewhere if own_processes else build_step
    calls = {'ours': build_step(job)}
    calls |= {name: prepare(peer_job) for name, peer_job in jobs.items()}
    notes = [*NOTES]
    if 'mmseg' in peers:
        notes.append(FIXED_NORM)
    if job.batch_size == 1:
        notes.append(ONE_IMAGE)
    if own_processes:
        notes.append(OWN_PROCESSES)
    return calls, notes
