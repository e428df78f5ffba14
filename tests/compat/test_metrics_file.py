"""Of several processes the first one writes the metrics of a test."""

from types import SimpleNamespace

import pytest
from mmengine.dist import utils
from mmengine.hooks import LoggerHook, logger_hook

from mbv2_backbone.compat.metrics_file import write_metrics_once


@pytest.mark.parametrize(('rank', 'written'), [(0, ['time.json']), (1, [])])
def test_the_first_process_writes(rank, written, tmp_path, monkeypatch):
    monkeypatch.setattr(logger_hook, 'dump', logger_hook.dump)  # restored at the end
    write_metrics_once()
    write_metrics_once()
    monkeypatch.setattr(utils, 'get_rank', lambda *_: rank)
    hook = LoggerHook()
    hook.json_log_path = 'time.json'
    runner = SimpleNamespace(
        log_dir=str(tmp_path),
        logger=SimpleNamespace(info=lambda _: None),
        test_dataloader=[],
        log_processor=SimpleNamespace(get_log_after_epoch=lambda *_, **__: ({'mAP': 0.5}, '')),
    )
    hook.after_test_epoch(runner)
    assert [path.name for path in tmp_path.iterdir()] == written
