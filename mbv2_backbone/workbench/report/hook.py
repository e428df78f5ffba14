"""Collect the data for the report during an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import gather_object, get_rank, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from ...common.notebook import Output
from ..checks.broken_images import samples_of
from ..configs.summary import ConfigSummary
from .classification import ClassCollector
from .detection import BoxCollector, truth_of
from .provenance import origin_of
from .render import Part, write_report
from .segmentation import MaskCollector

FOLDER = 'report'


class ReportHook(Hook):
    """Writes `<work_dir>/report/report.html` after an evaluation.

    An error stops the report, not the evaluation.

    Args:
        checkpoint: The evaluated checkpoint.
        summary: Summary of the config before test-time augmentation or an export changed the model.
    """

    def __init__(self, *, checkpoint: str, summary: ConfigSummary) -> None:
        self.task = summary.task
        self.summary = summary
        self.checkpoint = checkpoint

    def before_test_epoch(self, runner: Runner) -> None:
        """Prepare to collect data and to measure times."""
        self.boxes = self.masks = self.images = None
        self.is_off = False
        self.num_seen = 0
        self.seconds = dict.fromkeys(('data', 'model', 'metric', 'report'), 0.0)
        with self._or_no_report(runner):
            if self.summary.image_classes().names:
                self.images = ClassCollector(self.summary.image_classes())
            if self.task in ('det', 'joint'):
                samples = samples_of(runner.test_dataloader.dataset)
                self.boxes = BoxCollector(
                    self.summary.box_classes().names,
                    {sample['img_path']: truth_of(sample) for sample in samples},
                    keep_all=_metric_with(runner, 'precision') is None,
                )
            if self.task in ('seg', 'joint'):
                ignored = getattr(_metric_with(runner, 'ignore_index'), 'ignore_index', 255)
                self.masks = MaskCollector(self.summary.mask_classes(), ignore_index=ignored)
        evaluator = runner.test_loop.evaluator
        evaluator.process = self._timed(evaluator.process)
        self.mark = time.perf_counter()

    @contextmanager
    def _or_no_report(self, runner: Runner) -> Iterator[None]:
        try:
            yield
        except Exception:  # the metrics of the evaluation must not be lost because of this
            self.is_off = True
            runner.logger.exception('No report was written because of an error')

    @property
    def _collectors(self) -> list[BoxCollector | MaskCollector | ClassCollector]:
        collectors = (self.boxes, self.masks, self.images)
        return [collector for collector in collectors if collector is not None]

    def before_test_iter(self, runner: Runner, **_: Any) -> None:  # noqa: ARG002
        """End the loading time."""
        self._lap('data')

    def _timed(self, process: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():  # the metric would wait for the model in any case
                torch.cuda.synchronize()
            self._lap('model')
            process(*args, **kwargs)
            self._lap('metric')

        return call

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,  # noqa: ARG002
        data_batch: dict | None = None,  # noqa: ARG002
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Collect from one batch."""
        self._lap('metric')  # includes what other hooks do, such as drawing
        if self.is_off:
            return
        num_images = len(runner.test_dataloader.dataset)
        with self._or_no_report(runner):
            for sample in outputs:
                # With several processes, the last batches are padded with images from the start.
                if get_rank() + self.num_seen * get_world_size() < num_images:
                    for collector in self._collectors:
                        collector.add(sample)
                self.num_seen += 1
        self._lap('report')

    def _lap(self, what: str) -> None:
        now = time.perf_counter()
        self.seconds[what] += now - self.mark
        self.mark = now

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Gather the data of all processes, and write the report."""
        del runner.test_loop.evaluator.process  # the class has the untimed one
        everyone = gather_object(None if self.is_off else self._collectors)
        if not is_main_process() or None in everyone:  # the process that failed has logged why
            return
        with self._or_no_report(runner):
            for collector, *others in zip(self._collectors, *everyone[1:], strict=True):
                collector.merge(others)
            self._write(runner, metrics or {})

    def _write(self, runner: Runner, metrics: dict[str, float]) -> None:
        start = time.perf_counter()
        folder = Path(runner.work_dir, FOLDER)
        data = origin_of(runner, self.checkpoint)
        num_images = len(runner.test_dataloader.dataset)
        data['speed'] = speed_of(self.seconds, num_images, get_world_size())
        path = write_report(folder, data, self._parts(runner, metrics))
        Output().show_page(path)
        megabytes = path.stat().st_size / 1e6
        taken = time.perf_counter() - start
        runner.logger.info(f'Report: {path} ({megabytes:.1f} MB, drawn in {taken:.1f} s)')

    def _parts(self, runner: Runner, metrics: dict[str, float]) -> list[Part]:
        prefix = _prefix_of(runner, 'ignore_index')
        start = '' if self.task == 'seg' else f'{prefix}/'
        of_masks = {key: value for key, value in metrics.items() if key.startswith(start)}
        start = '' if self.task == 'cls' else f'{_prefix_of(runner, "topk")}/'
        of_images = {key: value for key, value in metrics.items() if key.startswith(start)}
        reports = []
        if self.boxes is not None:
            metric = _metric_with(runner, 'precision')
            report = self.boxes.report(
                metrics={
                    key: value
                    for key, value in metrics.items()
                    if key not in of_masks and key not in of_images
                },
                precision=getattr(metric, 'precision', None),
                iou_thrs=getattr(metric, 'iou_thrs', ()),
            )
            reports.append(report)
        if self.masks is not None:
            reports.append(self.masks.report(metrics=of_masks, prefix=prefix))
        if self.images is not None:
            reports.append(self.images.report(metrics=of_images))
        return [
            Part(report, *collector.extremes.worst_and_best())
            for report, collector in zip(reports, self._collectors, strict=True)
        ]


def _metric_with(runner: Runner, attribute: str) -> BaseMetric | None:
    metrics = runner.test_loop.evaluator.metrics
    return next((metric for metric in metrics if hasattr(metric, attribute)), None)


def _prefix_of(runner: Runner, attribute: str) -> str | None:
    return getattr(_metric_with(runner, attribute), 'prefix', None)


def speed_of(seconds: dict[str, float], num_images: int, num_processes: int) -> dict:
    """Return the speed of an evaluation, excluding the time that the report took.

    Args:
        seconds: In the main process: `data` for loading, `model`, `metric` and `report`.
        num_images: Number of images of the dataset, over all processes.
        num_processes: Number of processes that shared them.
    """
    share = num_images / num_processes
    total = sum(seconds[key] for key in ('data', 'model', 'metric'))
    speed = dict(
        images=num_images,
        processes=num_processes,
        images_per_s=round(num_images / total, 2) if total else None,
    )
    return speed | {
        f'{key}_ms': round(1e3 * seconds[key] / share, 3) if share else None
        for key in ('data', 'model', 'metric', 'report')
    }
