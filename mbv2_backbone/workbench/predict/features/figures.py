"""Draw feature maps and heatmaps with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from mmengine.structures import BaseDataElement

from .activation import mean_activation, strongest_channels
from .inspector import ClassMaps, Inspection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from ...drawing.painter import Painter

NUM_CHANNELS = 8
_COLUMNS = 4  # columns of single channels, which fill two rows
_FIELDS = {'pred_instances': 'boxes', 'pred_sem_seg': 'mask', 'pred_scores': 'image'}
_COLOURS = 'inferno'
# Inches; positions are computed here, because matplotlib's own layout takes seconds per figure.
_WIDTH, _GAP, _TITLE, _BAR = 2.8, 0.15, 0.3, 0.12
_SMALLEST, _LARGEST = 1.4, 4.2  # limits of the height of an image of that width
_DPI = 100


def write_activations(
    inspection: Inspection, image: np.ndarray, sample: BaseDataElement, painter: Painter, stem: str
) -> None:
    """Write `<stem>.taps.png` and `<stem>.classes.png` of an image `(H, W, 3)` uint8 BGR."""
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    _tap_figure(inspection, image).savefig(f'{stem}.taps.png')
    _class_figure(inspection, image, sample, painter).savefig(f'{stem}.classes.png')


def _tap_figure(inspection: Inspection, image: np.ndarray) -> Figure:
    """Draw a row for each tap: the mean over the image, and its strongest channels."""
    height = _height(image)
    small = (height - _TITLE) / 2  # height of a single channel
    narrow = min(_WIDTH / 2, small * image.shape[1] / image.shape[0])
    right = _WIDTH + 5 * _GAP + 4 * _BAR  # where the channels begin
    row = height + 2.5 * _TITLE
    size = right + _COLUMNS * (narrow + 2 * _GAP), 1.5 * _TITLE + row * len(inspection.taps)
    sheet = _Sheet((max(size[0], 8.0), size[1]), 'Feature maps that the heads read')
    for i, (info, tap) in enumerate(zip(inspection.infos, inspection.taps, strict=True)):
        top = 1.5 * _TITLE + i * row
        high, wide = tap.shape[1:]
        sheet.write(
            f'{info.name}: {info.channels} channels of {wide}x{high} values, '
            f'one for every {info.stride} pixels (stride)',
            top,
        )
        top += 2 * _TITLE
        axes = sheet.axes(_GAP, top, _WIDTH, height, 'all channels: mean of |value|')
        heat = _show_over(axes, mean_activation(tap).numpy(), image, inspection)
        sheet.bar(heat, 2 * _GAP + _WIDTH, top, height)
        for k, channel in enumerate(strongest_channels(tap, NUM_CHANNELS).tolist()):
            title = f'channel {channel}' if k else f'strongest: {channel}'
            left = right + k % _COLUMNS * (narrow + 2 * _GAP)
            axes = sheet.axes(left, top + k // _COLUMNS * (small + _TITLE), narrow, small, title)
            _show_values(axes, tap[channel].numpy(), image, inspection, cmap='viridis')
    return sheet.figure


def _class_figure(
    inspection: Inspection, image: np.ndarray, sample: BaseDataElement, painter: Painter
) -> Figure:
    """Draw a row for each class: what was found, and where in each tap it comes from."""
    columns = 1 + max((len(found.maps) for found in inspection.classes), default=1)
    rows = max(1, len(inspection.classes))
    height = _height(image)
    row = height + 1.5 * _TITLE
    size = columns * (_WIDTH + _GAP) + 7 * _BAR + _GAP, 1.2 * _TITLE + row * rows
    sheet = _Sheet(size, 'Where each class comes from: bright regions contributed to it')
    for i, found in enumerate(inspection.classes):
        top = 2.2 * _TITLE + i * row
        panels = [
            sheet.axes(_GAP + k * (_WIDTH + _GAP), top, _WIDTH, height)
            for k in range(1 + len(found.maps))
        ]
        heat = _draw_class(panels, found, inspection, image, sample, painter)
        sheet.bar(heat, _GAP + len(panels) * (_WIDTH + _GAP), top, height, ('nothing', 'most'))
    if not inspection.classes:
        axes = sheet.axes(_GAP, 2.2 * _TITLE, _WIDTH, height, 'no class was found')
        _show_image(axes, image)
    return sheet.figure


def _draw_class(
    panels: list[Axes],
    found: ClassMaps,
    inspection: Inspection,
    image: np.ndarray,
    sample: BaseDataElement,
    painter: Painter,
) -> AxesImage:
    classes = dict(zip(_FIELDS, (painter.boxes, painter.masks, painter.images), strict=True))
    classes = classes[found.field]
    panels[0].set_title(f'{classes.names[found.label]} ({_FIELDS[found.field]})', fontsize=11)
    _show_image(panels[0], painter.draw(image, _only(sample, found), 'pred'))
    for axes, (name, values) in zip(panels[1:], found.maps.items(), strict=True):
        has_part = bool(values.any())
        axes.set_title(f'by {name}' if has_part else f'{name} did not contribute', fontsize=9)
        heat = _show_over(axes, values.numpy(), image, inspection, vmin=0, vmax=1)
    return heat


class _Sheet:
    """A figure whose parts are placed in inches from its upper left corner."""

    def __init__(self, size: tuple[float, float], title: str) -> None:
        self.figure = Figure(size, dpi=_DPI)
        self.write(title, 0, fontsize=13)

    def write(self, text: str, top: float, fontsize: int = 11) -> None:
        """Write a centred line of text."""
        height = self.figure.get_figheight()
        style = dict(ha='center', va='center', fontsize=fontsize)
        self.figure.text(0.5, 1 - (top + _TITLE / 2) / height, text, **style)

    def axes(self, left: float, top: float, width: float, height: float, title: str = '') -> Axes:
        """Add axes; their title stands above `top`."""
        all_width, all_height = self.figure.get_size_inches()
        place = left / all_width, 1 - (top + height) / all_height
        axes = self.figure.add_axes((*place, width / all_width, height / all_height))
        axes.set_title(title, fontsize=9)
        return axes

    def bar(
        self, heat: AxesImage, left: float, top: float, height: float, ends: Sequence[str] = ()
    ) -> None:
        """Add a colour bar, with numbers, or with words at its ends."""
        bar = self.figure.colorbar(heat, cax=self.axes(left, top, _BAR, height))
        bar.ax.tick_params(labelsize=8)
        if ends:
            bar.set_ticks(heat.get_clim(), labels=ends)


def _height(image: np.ndarray) -> float:
    return float(np.clip(_WIDTH * image.shape[0] / image.shape[1], _SMALLEST, _LARGEST))


def _only(sample: BaseDataElement, found: ClassMaps) -> BaseDataElement:
    """Return a copy of a prediction with only one class; that of a whole image is not drawn."""
    if found.field == 'pred_scores':
        return type(sample)()
    if found.field == 'pred_instances':
        boxes = sample.pred_instances
        return type(sample)(pred_instances=boxes[boxes.labels == found.label])
    masks = sample.pred_sem_seg
    # 255 is not a class, and so has no colour.
    alone = {name: labels.where(labels == found.label, 255) for name, labels in masks.items()}
    return type(sample)(pred_sem_seg=type(masks)(**alone))


def _show_over(
    axes: Axes, values: np.ndarray, image: np.ndarray, inspection: Inspection, **scale: float
) -> AxesImage:
    """Draw values `(h, w)` of a tap over the image."""
    _show_image(axes, image)
    style = dict(cmap=_COLOURS, alpha=0.65, interpolation='bilinear')
    return _show_values(axes, values, image, inspection, **style, **scale)


def _show_values(
    axes: Axes, values: np.ndarray, image: np.ndarray, inspection: Inspection, **style: object
) -> AxesImage:
    """Draw values `(h, w)` of a tap over the area that they were computed from."""
    height, width = image.shape[:2]
    whole_height = height * inspection.input_hw[0] / inspection.image_hw[0]
    whole_width = width * inspection.input_hw[1] / inspection.image_hw[1]
    shown = axes.imshow(values, extent=(0, whole_width, whole_height, 0), **style)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    return shown


def _show_image(axes: Axes, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    axes.imshow(image[..., ::-1], extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[])
