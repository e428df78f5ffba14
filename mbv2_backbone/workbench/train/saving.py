"""Atomic checkpoints, and a run that survives a full disk."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...common.files import write_atomically
from ...weights.whole_model import LAST_CHECKPOINT, last_checkpoint

INTERRUPTED = 'interrupted.pth'


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """mmengine's backend for local files, which writes with `write_atomically`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_atomically(obj, filepath)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook` that always leaves a good checkpoint behind.

    Files are written under a temporary name and renamed, and only then are old ones removed;
    mmengine removes them first. A checkpoint that cannot be written, as on a full disk, is
    skipped with a warning, and training continues: there may be space for the next one.
    """

    def before_train(self, runner: Runner) -> None:
        """Select the atomic backend for local files; see mmengine."""
        is_local = '://' not in str(self.out_dir or runner.work_dir)
        if self.file_client_args is None and self.backend_args is None and is_local:
            self.backend_args = dict(backend='atomic')
        super().before_train(runner)

    def save_interrupted(self, runner: Runner, meta: dict) -> str | None:
        """Save at any iteration, to a file that the next interruption overwrites.

        Args:
            runner: The runner.
            meta: The finished `epoch` and `iter`, and `batch_in_epoch`.

        Returns:
            The path, or `None` if it could not be written.
        """
        return self._try_to_save(runner, INTERRUPTED, meta)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        kept = list(getattr(self, 'keep_ckpt_ids', ()))
        keeping = [*(kept_step for kept_step in kept if kept_step != step), step]
        if self.max_keep_ckpts > 0:
            keeping = keeping[-self.max_keep_ckpts :]
            runner.message_hub.update_info('keep_ckpt_ids', keeping)
        path = self._try_to_save(runner, self.filename_tmpl.format(step), meta)
        if self.max_keep_ckpts > 0 and path is None:
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        elif self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = keeping
            old = [self.filename_tmpl.format(old) for old in kept if old not in keeping]
            self._remove([self.file_backend.join_path(self.out_dir, name) for name in old])

    def _try_to_save(self, runner: Runner, name: str, meta: dict) -> str | None:
        path = self.file_backend.join_path(self.out_dir, name)
        before = runner.message_hub.runtime_info.get('last_ckpt')
        runner.message_hub.update_info('last_ckpt', path)
        try:
            _in_all_or_none(
                runner.save_checkpoint,
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            pointer = osp.join(runner.work_dir, LAST_CHECKPOINT)
            _in_all_or_none(master_only(write_atomically), path.encode(), pointer)
        except OSError as error:
            runner.message_hub.update_info('last_ckpt', before)
            _warn_unsaved(runner, path, error)
            return None
        self.last_ckpt = path
        return path

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        hub, save = runner.message_hub, runner.save_checkpoint
        infos = {k: v for k, v in hub.runtime_info.items() if k.startswith('best_')}
        before = self._best_paths()
        self._set_best_paths(dict.fromkeys(before))  # or mmengine would remove them first
        runner.save_checkpoint = partial(_in_all_or_none, save)
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            for key in [key for key in hub.runtime_info if key.startswith('best_')]:
                hub.pop_info(key)
            for key, value in infos.items():
                hub.update_info(key, value)
            self._set_best_paths(before)
            _warn_unsaved(runner, 'the best checkpoint', error)
            return
        finally:
            runner.save_checkpoint = save
        after = {key: path or before.get(key) for key, path in self._best_paths().items()}
        self._set_best_paths(after)
        self._remove([path for path in before.values() if path and path not in after.values()])

    def _best_paths(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict.update(paths)

    def _remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)


def _in_all_or_none(save: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Call a function that writes in the main process only; all processes raise its error.

    Raises:
        OSError: In every process, if the main process could not write.
    """
    problems = [None]
    try:
        save(*args, **kwargs)
    except OSError as error:
        problems = [str(error)]
    broadcast_object_list(problems)
    if problems[0] is not None:
        raise OSError(problems[0])


def _warn_unsaved(runner: Runner, what: str, problem: OSError) -> None:
    last = last_checkpoint(runner.work_dir)
    runner.logger.warning(
        f'Could not save {what} ({problem}). Training continues; the last good checkpoint is '
        f'{last or "none: there is no other yet"}. Free some disk space.'
    )
