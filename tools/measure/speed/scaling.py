"""Time over multiply-adds, for varying image size, batch size and width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config

from mbv2_backbone.workbench.configs.machine import Machine, to_memory_format
from mbv2_backbone.workbench.predict.fold import folded
from mbv2_backbone.workbench.predict.packed import pack_convolutions

from .conditions import synchronizer
from .forward import build_backbone
from .inputs import Size
from .models import quiet, settle_batch_norm
from .timing import quartiles, time_in_turn

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
BATCHES = (1, 2, 4, 8)
FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)  # image sizes, relative to the config's
# Slopes of log time over log MAdds that count as growing alike. MAdds grow with the square of the
# width, but what is read and written in proportion to it: a slope of 0.5 to 1.
LOWEST_SLOPES = dict(size=0.7, batch=0.7, width=0.5, all=0.7)
HIGHEST_SLOPE = 1.3


def scaling_rows(
    cfg: Config,
    machine: Machine,
    *,
    size: Size,
    rounds: int,
    warmup: int,
    factors: Sequence[float] = FACTORS,
    batches: Sequence[int] = BATCHES,
    widths: Sequence[float] = WIDTHS,
) -> list[dict]:
    """Time the forward pass of the config's backbone as `FilePredictor` makes it.

    One thing changes at a time.

    Args:
        cfg: The config.
        machine: What it runs on.
        size: Height and width that `factors` multiply.
        rounds: As for `time_in_turn`.
        warmup: As for `time_in_turn`.
        factors: Of the size.
        batches: Images in a pass.
        widths: Width multipliers of the backbone.

    Returns:
        One row per point: `series` (`size`, `batch` or `width`), `name`, `madds`, `milliseconds`.
    """
    own_width = cfg.model.backbone.get('widen_factor', 1.0)
    sizes = dict.fromkeys(_scaled(size, factor) for factor in factors)
    points = [('size', size_hw, 1, own_width) for size_hw in sizes]
    points += [('batch', size, n, own_width) for n in batches]
    points += [('width', size, 1, width) for width in widths]
    calls, rows = {}, []
    for series, size_hw, batch_size, width in points:
        value = dict(size=f'{size_hw[0]}x{size_hw[1]}', batch=batch_size, width=width)[series]
        name = f'{series} {value}'
        images = torch.randn(batch_size, 3, *size_hw, device=machine.device)
        model = build_backbone(cfg, widen_factor=width).to(machine.device)
        with quiet():
            madds = FlopAnalyzer(model, (images[:1],)).total() * batch_size
        sample = torch.randn(2, 3, *size_hw, device=machine.device)
        settle_batch_norm(model, lambda model=model, sample=sample: model(sample))
        model = folded(model)
        to_memory_format(model, machine)
        if machine.device == 'cpu':
            pack_convolutions(model)
        if machine.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        calls[name] = torch.inference_mode()(lambda model=model, images=images: model(images))
        rows.append(dict(series=series, name=name, madds=float(madds)))
    wait = synchronizer(machine)
    seconds = time_in_turn(calls, rounds=rounds, warmup=warmup, synchronize=wait)
    for row in rows:
        spread = quartiles(seconds[row['name']])
        row['milliseconds'] = {key: 1000 * value for key, value in spread.items()}
    return rows


def _scaled(size: Size, factor: float) -> Size:
    return tuple(max(32, round(side * factor / 32) * 32) for side in size)


def slopes(rows: Sequence[dict]) -> dict[str, float]:
    """Return the exponent with which time grows as multiply-adds do, by series and in all.

    1 means in proportion; a least-squares line through the logarithms.
    """
    found = {}
    for series in (*dict.fromkeys(row['series'] for row in rows), 'all'):
        points = [
            (row['madds'], row['milliseconds']['median'])
            for row in rows
            if series in (row['series'], 'all')
        ]
        madds, times = np.log(np.array(points)).T
        found[series] = float(np.polyfit(madds, times, 1)[0])
    return found


def verdict(found: dict[str, float]) -> str:
    """Describe whether time grows as multiply-adds do."""
    listed = ', '.join(f'{name} {slope:.2f}' for name, slope in found.items())
    off = [
        name for name, slope in found.items() if not LOWEST_SLOPES[name] <= slope <= HIGHEST_SLOPE
    ]
    judged = (
        f'time does not grow in proportion to MAdds over: {", ".join(off)}'
        if off
        else 'time grows in proportion to MAdds'
    )
    lowest = ', '.join(f'{name} {slope}' for name, slope in LOWEST_SLOPES.items())
    return (
        f'{judged} (slope of log time over log MAdds: {listed}; at least {lowest}, at most '
        f'{HIGHEST_SLOPE} counts as alike: with the width MAdds grow in the square, memory traffic '
        f'in proportion)'
    )


def plot(rows: Sequence[dict], path: str, title: str) -> None:
    """Draw time against multiply-adds, both on logarithmic axes, into an image file."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5))
    for series in dict.fromkeys(row['series'] for row in rows):
        points = sorted(
            (row['madds'] / 1e9, row['milliseconds']['median'])
            for row in rows
            if row['series'] == series
        )
        axes.plot(*zip(*points, strict=True), 'o-', label=series)
    ends = np.array([min(row['madds'] for row in rows), max(row['madds'] for row in rows)]) / 1e9
    rates = [row['milliseconds']['median'] / row['madds'] * 1e9 for row in rows]
    axes.plot(ends, ends * np.median(rates), 'k:', label='in proportion')
    axes.set(xscale='log', yscale='log', xlabel='MAdds (B)', ylabel='median time (ms)', title=title)
    axes.grid(visible=True, which='both', alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches='tight')
    plt.close(figure)
