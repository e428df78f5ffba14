"""Write the report: `report.html` as one file, the metrics as JSON, the plots as PNG."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...common.files import write_atomically
from .curves import draw_curves
from .pictures import ALL_BYTES, compare_boxes, compare_masks, encode, fitted_panel
from .plots import draw_confusion, draw_precision, share_of_row
from .ranking import RankedImage
from .style import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CONFUSIONS = 15
_TEMPLATES = Path(__file__).parent / 'page'


@dataclass(frozen=True)
class Part:
    """The report's section on boxes, masks or image classes.

    Attributes:
        report: Its numbers.
        worst: Images to draw, worst first.
        best: Images to draw, best first.
    """

    report: dict
    worst: Sequence[RankedImage]
    best: Sequence[RankedImage]


def write_report(folder: str | Path, data: dict, parts: Sequence[Part]) -> Path:
    """Write a report into a folder.

    Args:
        folder: It is created; an earlier report in it is replaced at the end.
        data: As `origin_of` returns it, with `speed`.
        parts: The parts on boxes, masks or both, or on image classes.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    num_drawings = sum(len(part.worst) + len(part.best) for part in parts)
    max_bytes = ALL_BYTES // max(1, num_drawings)
    shown = [_shown(part, max_bytes) for part in parts]
    reports = [
        part.report | {side: [_facts(i) for i in getattr(part, side)] for side in ('worst', 'best')}
        for part in parts
    ]
    data = clean(dict(data, parts=reports))
    figures = {'training.png': draw_curves(data['training']['scalars'])}
    for part in parts:
        figures |= _figures(part.report)
    plots = {name: _plot(figure, folder / name) for name, figure in figures.items() if figure}
    write_atomically(json.dumps(data, indent=1, allow_nan=False).encode(), folder / 'report.json')
    path = folder / 'report.html'
    write_atomically(render(dict(data, plots=plots, shown=shown)).encode(), path)
    for old in folder.glob('*.png'):
        if old.name not in plots:
            old.unlink()
    return path


def render(content: dict) -> str:
    """Fill the template; names from data are escaped, whatever they contain."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters['figure'] = figure
    return environment.get_template('report.html').render(content)


def figure(value: Any) -> str:
    """Format a number for a table; a dash if there is none (COCO writes -1)."""
    if value is None or value == -1:
        return '\N{EN DASH}'
    if isinstance(value, int):
        return f'{value:,}'
    return f'{value:.3f}' if abs(value) <= 1 else f'{value:,.2f}'


def clean(value: Any) -> Any:
    """Convert to what JSON can store: plain numbers, and `None` for those that are not finite."""
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(inner) for inner in value]
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(report: dict) -> dict[str, Figure]:
    """Return the plots of a part by their file names."""
    figures = {}
    if _precision(report):
        figures[f'{report["task"]}_precision_recall.png'] = draw_precision(report['curves'])
    if np.any(report['confusion']['counts']):
        figures[f'{report["task"]}_confusion.png'] = draw_confusion(**report['confusion'])
    return figures


def _precision(report: dict) -> dict[str, list[float]]:
    """Return the precision of the classes that have one."""
    return (report.get('curves') or dict(precision={}))['precision']


def _shown(part: Part, max_bytes: int) -> dict:
    """Draw the images of a part; return them as data URIs, with rows for the template."""
    report = part.report
    galleries = {
        side: [
            dict(_facts(image), drawing=_drawing(image, report, max_bytes))
            for image in getattr(part, side)
        ]
        for side in ('worst', 'best')
    }
    sparks = {name: spark(y) for name, y in _precision(report).items()}
    return dict(sparks=sparks, confusions=confusions(**report['confusion']), **galleries)


def spark(precision: Sequence[float]) -> str:
    """Return a curve over the recall as the points of an SVG polyline, in a square of 100."""
    step = 100 / (len(precision) - 1)
    points = enumerate(precision)
    return ' '.join(f'{i * step:.0f},{100 - 100 * y:.0f}' for i, y in list(points)[::4])


def confusions(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[dict]:
    """Return the most frequent confusions, by their share of the ground truth."""
    shares = share_of_row(counts)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind='stable')[:MAX_CONFUSIONS]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [
        dict(
            truth=names[row],
            prediction=names[column],
            count=int(counts[row][column]),
            share=round(float(shares[row, column]), 3),
        )
        for row, column in pairs
        if shares[row, column]
    ]


def _facts(image: RankedImage) -> dict:
    return dict(path=image.path, **image.facts)


def _drawing(image: RankedImage, report: dict, max_bytes: int) -> str | None:
    if report['task'] == 'detection':
        names = report['confusion']['names']
        drawing = compare_boxes(image, names, has_truth=report['has_truth'])
    elif report['task'] == 'classification':
        drawing = fitted_panel(image)
    else:
        drawing = compare_masks(image, report['palette'])
    return None if drawing is None else _uri(encode(drawing, max_bytes), 'webp')


def _plot(figure: Figure, path: Path) -> str:
    save_figure(figure, path)
    return _uri(path.read_bytes(), 'png')


def _uri(data: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
