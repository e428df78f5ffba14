"""Writing a report: `report.html` in one file, its figures as JSON, its plots as PNG."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .curves import draw_curves
from .pictures import ALL_BYTES, draw_boxes, draw_masks, encode
from .plots import draw_confusion, draw_precision, share_of_row
from .ranking import RankedImage
from .style import save_figure

MAX_CONFUSIONS = 15
_TEMPLATES = Path(__file__).parent / 'page'


@dataclass(frozen=True)
class Part:
    """The report's part on boxes or on masks.

    Attributes:
        report: Its figures.
        worst: Images to be drawn, the very worst first.
        best: The same, the very best first.
    """

    report: dict
    worst: Sequence[RankedImage]
    best: Sequence[RankedImage]


def write_report(folder: str | Path, data: dict, parts: Sequence[Part]) -> Path:
    """Write a report into a folder.

    Args:
        folder: It is made; what it has of an earlier report is replaced.
        data: As `origin_of` returns it, with `speed`.
        parts: On boxes, masks or both.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob('*.png'), folder / 'report.json', folder / 'report.html'):
        old.unlink(missing_ok=True)
    num_pictures = sum(len(part.worst) + len(part.best) for part in parts)
    max_bytes = ALL_BYTES // max(1, num_pictures)
    shown = [_shown(folder, part, max_bytes) for part in parts]
    reports = [
        part.report | {side: [_facts(i) for i in getattr(part, side)] for side in ('worst', 'best')}
        for part in parts
    ]
    data = clean(dict(data, parts=reports))
    (folder / 'report.json').write_text(json.dumps(data, indent=1, allow_nan=False))
    training = draw_curves(data['training']['scalars'])
    curves = training and _plot(training, folder / 'training.png')
    page = render(dict(data, curves=curves, shown=shown))
    path = folder / 'report.html'
    path.write_text(page, encoding='utf-8')
    return path


def render(content: dict) -> str:
    """Fill the template; names from data are text in it, whatever they hold."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters['figure'] = figure
    return environment.get_template('report.html').render(content)


def figure(value: Any) -> str:
    """Write a figure for a table; a dash where there is none (COCO's is -1)."""
    if value is None or value == -1:
        return '\N{EN DASH}'
    if isinstance(value, int):
        return f'{value:,}'
    return f'{value:.3f}' if abs(value) <= 1 else f'{value:,.2f}'


def clean(value: Any) -> Any:
    """Return what JSON can hold: plain numbers, and `None` for those that are not finite."""
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(inner) for inner in value]
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(folder: Path, part: Part, max_bytes: int) -> dict:
    """Draw what a part shows; return it as data URIs and rows for the template."""
    report = part.report
    task = report['task']
    plots, sparks = {}, {}
    if report.get('curves') and report['curves']['precision']:
        plots['precision'] = _plot(
            draw_precision(report['curves']), folder / f'{task}_precision_recall.png'
        )
        sparks = {name: spark(y) for name, y in report['curves']['precision'].items()}
    if np.any(report['confusion']['counts']):
        plots['confusion'] = _plot(
            draw_confusion(**report['confusion']), folder / f'{task}_confusion.png'
        )
    galleries = {
        side: [
            dict(_facts(image), picture=_picture(image, report, max_bytes))
            for image in getattr(part, side)
        ]
        for side in ('worst', 'best')
    }
    return dict(
        plots=plots, sparks=sparks, confusions=confusions(**report['confusion']), **galleries
    )


def spark(precision: Sequence[float]) -> str:
    """Return a curve over the recall as the points of an SVG polyline, in a square of 100."""
    step = 100 / (len(precision) - 1)
    points = enumerate(precision)
    return ' '.join(f'{i * step:.0f},{100 - 100 * y:.0f}' for i, y in list(points)[::4])


def confusions(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[dict]:
    """Return what is most often taken for something else, by its share of the truth."""
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


def _picture(image: RankedImage, report: dict, max_bytes: int) -> str | None:
    if report['task'] == 'detection':
        names = report['confusion']['names']
        picture = draw_boxes(image, names)
    else:
        picture = draw_masks(image, report['palette'])
    return None if picture is None else _uri(encode(picture, max_bytes), 'webp')


def _plot(figure: Any, path: Path) -> str:
    save_figure(figure, path)
    return _uri(path.read_bytes(), 'png')


def _uri(data: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
