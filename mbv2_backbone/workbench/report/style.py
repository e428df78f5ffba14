"""Shared plot style: colour-blind safe colours and the file format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...common.files import replaced_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/, without its yellow: too pale on white.
BLUE, VERMILION, PURPLE = '#0072B2', '#D55E00', '#CC79A7'
COLOURS = (BLUE, VERMILION, '#009E73', PURPLE, '#E69F00', '#56B4E9', '#000000')
_DASHES = ('-', '--', ':')
# Colours repeat with another dash.
LINES = tuple(
    dict(color=colour, linestyle=dash, linewidth=1.6) for dash in _DASHES for colour in COLOURS
)
DPI = 110


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG; a reader never sees a partial file."""
    with replaced_whole(path) as part:
        figure.savefig(part, format='png', dpi=DPI)
