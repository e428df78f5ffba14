"""Save a checkpoint and stop the run on Ctrl-C and SIGTERM."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner

from ...weights.whole_model import last_checkpoint
from .saving import SafeCheckpointHook

# A launcher forwards Ctrl-C to its processes, which the terminal has already sent it to.
SAME_KEYPRESS_SECONDS = 1.0
WORKER_GRACE_SECONDS = 10
CHECK_INTERVAL_ON_GPU = 10


@dataclass
class Stop:
    """The signal that asked the run to stop; 0 for none."""

    signum: int = 0
    since: float = 0.0

    def __call__(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Remember a signal.

        Raises:
            KeyboardInterrupt: On a second Ctrl-C.
        """
        now = time.monotonic()
        if self.signum == 0:
            self.signum, self.since = signum, now
        elif signum == signal.SIGINT and now - self.since > SAME_KEYPRESS_SECONDS:
            raise KeyboardInterrupt('stopped at once; the step under way is not saved')


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Remember SIGINT and SIGTERM instead of exiting on them, if this is the main thread."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    with handled_by(stop):
        yield stop


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM with a function for a while; only possible in the main thread."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@FUNCTIONS.register_module()
def outlive_stop_signals(worker_id: int) -> None:  # noqa: ARG001
    """Keep a loader worker alive for a while after a signal to all processes of a job.

    Its death would end the training process before that has saved a checkpoint.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_GRACE_SECONDS))


class StopHook(Hook):
    """Saves and stops after the batch, or during the validation, in which a signal arrived.

    Several processes agree on the batch. On GPUs they do so every 10 batches, to avoid waiting,
    and only after an update of the weights: gradients accumulated since then are not saved.

    Args:
        stop: Object in which `stop_signals` stores the signal.
    """

    priority = 'LOWEST'

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._next_check = 0

    def after_train_iter(self, runner: Runner, batch_idx: int, *_: Any, **__: Any) -> None:
        """Stop between two batches."""
        if not self._is_asked(runner):
            return
        self._save_and_exit(
            runner, dict(epoch=runner.epoch, iter=runner.iter + 1, batch_in_epoch=batch_idx + 1)
        )

    def after_val_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Exit the validation; with several processes, whose lengths may differ, finish it."""
        if self._stop.signum == 0 or get_world_size() > 1:
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.after_val_epoch(runner)  # validation swaps the weights for the averages
        self._save_and_exit(runner, dict(epoch=runner.epoch, iter=runner.iter))

    def _is_asked(self, runner: Runner) -> bool:
        if get_world_size() == 1:
            return self._stop.signum != 0
        if not runner.optim_wrapper.should_update() or runner.iter < self._next_check:
            return False
        device = get_device()
        self._next_check = runner.iter + (1 if device == 'cpu' else CHECK_INTERVAL_ON_GPU)
        asked = torch.tensor(self._stop.signum, device=device)
        all_reduce(asked, 'max')
        self._stop.signum = int(asked)
        return self._stop.signum != 0

    def _save_and_exit(self, runner: Runner, meta: dict) -> None:
        name = signal.Signals(self._stop.signum).name
        saver = next((h for h in runner.hooks if isinstance(h, SafeCheckpointHook)), None)
        saved = saver and saver.save_interrupted(runner, meta)
        is_alone = get_world_size() == 1
        again = resume_command(sys.argv) if is_alone else 'the same launch with --resume'
        what = f'saved {saved}' if saved else 'nothing could be saved'
        runner.logger.info(
            f'{name}: {what} after iteration {meta["iter"]}. The newest checkpoint is '
            f'{last_checkpoint(runner.work_dir)}; continue with: {again}'
        )
        if self._stop.signum == signal.SIGINT:
            raise KeyboardInterrupt(f'{what}; continue with: {again}')
        raise SystemExit(128 + self._stop.signum)


def resume_command(argv: Sequence[str]) -> str:
    """Return a command line of train.py with a plain `--resume` instead of any other.

    In another program, as the kernel of a notebook, it is the call of the function.
    """
    if Path(argv[0]).name != 'train.py':
        return "train(…, resume='auto')"
    kept, skip = [], False
    for word in argv:
        if skip and not word.startswith('-'):
            skip = False
            continue
        skip = word == '--resume'
        if not skip and not word.startswith('--resume='):
            kept.append(word)
    return shlex.join(['python', *kept, '--resume'])
