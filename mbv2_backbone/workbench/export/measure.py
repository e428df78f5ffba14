"""Accuracy, size and latency before and after 8-bit quantisation."""

from __future__ import annotations

import os.path as osp
import time
from dataclasses import dataclass
from statistics import median

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import MODELS
from mmengine.runner import Runner

from ...common.messages import UserError
from ...common.progress import track
from ...deploy.predictor import Predictor
from ..configs.evaluators import use_own_metrics
from ..configs.plan import apply_steps
from ..configs.summary import ConfigSummary
from ..predict.exported_model import exported_steps

MAX_LOSS = 1.0  # points of a metric that quantisation may cost
_WARMUP, _ROUNDS = 5, 30  # untimed and timed calls of each file
METRICS = ('bbox_mAP', 'mAP', 'mIoU', 'top1')
_IN_POINTS = ('mIoU', 'top1')


@dataclass
class Quantised:
    """The 8-bit file, compared with the float32 one.

    Attributes:
        path: Path of the 8-bit file.
        metrics: Metrics by name, before and after, in points (0 to 100).
        megabytes: File size before and after.
        milliseconds: Time of a whole call of `Predictor`, before and after.
    """

    path: str
    metrics: dict[str, tuple[float, float]]
    megabytes: tuple[float, float]
    milliseconds: tuple[float, float]

    def problems(self) -> list[str]:
        """Return the metrics that fell too much."""
        return [
            f'{name} fell from {old:.1f} to {new:.1f}, by more than {MAX_LOSS:g} points'
            for name, (old, new) in self.metrics.items()
            if not old - new <= MAX_LOSS
        ]

    def __str__(self) -> str:
        rows = [(name, *values, '') for name, values in self.metrics.items()]
        rows += [('size', *self.megabytes, 'MB'), ('latency', *self.milliseconds, 'ms')]
        lines = [f'{"":16}{"float32":>10}{"int8":>10}']
        lines += [f'{name:16}{old:10.2f}{new:10.2f} {unit}' for name, old, new, unit in rows]
        return '\n'.join(line.rstrip() for line in lines)


def measure(
    cfg: Config, summary: ConfigSummary, float_path: str, int8_path: str, image: np.ndarray
) -> Quantised:
    """Evaluate both files with the metrics of the config; time them on `(H, W, 3)` RGB, 0 to 255.

    Raises:
        UserError: If the data is missing or the evaluators give no known metric.
    """
    before = headline_metrics(evaluate_exported(cfg, summary, float_path))
    after = headline_metrics(evaluate_exported(cfg, summary, int8_path))
    if not before:
        raise UserError(f'the test evaluator of the config gives none of {", ".join(METRICS)}')
    image = image.round().astype(np.uint8)
    pairs = [(Predictor(path), []) for path in (float_path, int8_path)]
    for i in range(_WARMUP + _ROUNDS):
        for predictor, seconds in pairs[:: -1 if i % 2 else 1]:
            begin = time.perf_counter()
            predictor(image)
            seconds.append(time.perf_counter() - begin)
    return Quantised(
        path=int8_path,
        metrics={name: (before[name], after[name]) for name in before},
        megabytes=(megabytes(float_path), megabytes(int8_path)),
        milliseconds=tuple(1000 * median(seconds[_WARMUP:]) for _, seconds in pairs),
    )


def headline_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Choose the mean average precision, mean IoU and top-1 accuracy, in points from 0 to 100."""
    chosen = {}
    for key, value in metrics.items():
        name = key.rsplit('/', 1)[-1]
        if name in METRICS:
            # mmdet uses fractions.
            chosen[name] = float(value) * (1 if name in _IN_POINTS else 100)
    return chosen


def megabytes(path: str) -> float:
    """Return the size of an exported file, with the file of its weights."""
    files = [path, osp.splitext(path)[0] + '.bin'] if path.endswith(('.xml', '.param')) else [path]
    return sum(osp.getsize(file) for file in files) / 1e6


def evaluate_exported(cfg: Config, summary: ConfigSummary, path: str) -> dict[str, float]:
    """Return the metrics of an exported file on the test split of its config."""
    cfg = apply_steps(cfg, [*exported_steps(path, summary), use_own_metrics()])
    model = MODELS.build(cfg.model)
    loader = Runner.build_dataloader(cfg.test_dataloader)
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    evaluator = Evaluator(list(evaluators))
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in track(loader, f'Evaluating {path}', unit='batches'):
        evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))
