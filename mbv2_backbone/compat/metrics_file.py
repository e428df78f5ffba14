"""The file of metrics of a test in several processes; see `compat`."""

from __future__ import annotations


def write_metrics_once() -> None:
    """Let only the first process write the metrics of a test; safe to call again.

    Reason: `LoggerHook` writes them to the same file in every process. Their times differ in
    length, so that the file of two that write at once may be no JSON.
    Versions: mmengine 0.10.7, onedl-mmengine 0.10.12.
    Delete when: `LoggerHook.after_test_epoch` writes in the first process alone.
    """
    from mmengine.dist import master_only
    from mmengine.fileio import dump
    from mmengine.hooks import logger_hook

    logger_hook.dump = master_only(dump)
