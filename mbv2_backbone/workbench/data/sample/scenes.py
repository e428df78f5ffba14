"""Draw the scenes of the sample dataset: shapes of four classes among clutter."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .sample_files import Instance

CLASSES = ('disc', 'square', 'triangle', 'star')
PALETTE = ((220, 20, 60), (0, 130, 200), (60, 180, 75), (255, 200, 0))  # RGB, one per class
MIN_VISIBLE = 0.4  # an object with a smaller visible share is not placed
_EMPTY_IMAGES = 0.02
_OBJECT_COUNTS = (0.16, 0.24, 0.24, 0.18, 0.11, 0.07)  # probability of 1, 2, ... 6 objects
_CLUTTER = ('bar', 'bar', 'blob', 'cross', 'arc')  # shapes of no class
_SUPERSAMPLE = 8
# Ranges of hue, saturation and value: toys on a table. A class has a usual hue, as real objects
# do, but other hues are frequent enough that the network must learn the shape.
_MUTED = ((0, 0.05, 0.25), (1, 0.45, 0.85))
_VIVID = ((0, 0.45, 0.4), (1, 1, 1))
_USUAL_HUE = {'disc': 0.97, 'square': 0.58, 'triangle': 0.36, 'star': 0.14}
_HUE_SPREAD = 0.1
_UNUSUAL = 0.2
_PLACEMENTS = 12


def draw_scene(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[Instance]]:
    """Draw 0 to 6 objects among clutter, later ones over earlier ones.

    Args:
        rng: Source of every choice; its state advances.
        size: Height and width of the image in pixels.

    Returns:
        The image, RGB uint8 ``(size, size, 3)``, and the objects in the order of drawing.
    """
    ground = _colours(rng, _MUTED, 1)[0]
    canvas = _surface(rng, size, size, ground, _MUTED, wavelength=size / 8)
    num_objects = 0
    if rng.random() >= _EMPTY_IMAGES:
        num_objects = 1 + int(rng.choice(len(_OBJECT_COUNTS), p=_OBJECT_COUNTS))
    kinds = [_CLUTTER[k] for k in rng.integers(len(_CLUTTER), size=rng.integers(5))]
    kinds += [CLASSES[k] for k in rng.integers(len(CLASSES), size=num_objects)]
    kinds += ['bar'] * int(rng.random() < 0.25)

    owner = np.full((size, size), -1, np.int16)  # index of the placed shape that a pixel shows
    placed: list[_Shape] = []
    for kind in kinds:
        for _ in range(_PLACEMENTS):
            shape = _random_shape(rng, kind, size, placed)
            trial = owner.copy()
            trial[shape.region][shape.mask] = len(placed)
            visible = np.bincount(trial.ravel() + 1, minlength=len(placed) + 2)[1:]
            if all(
                count >= MIN_VISIBLE * other.area
                for count, other in zip(visible, [*placed, shape], strict=True)
                if other.kind in CLASSES
            ):
                owner = trial
                placed.append(shape)
                _paint(rng, canvas, shape)
                break

    instances = []
    for index, shape in enumerate(placed):
        if shape.kind in CLASSES:
            visible = owner == index
            instances.append(
                Instance(
                    label=CLASSES.index(shape.kind),
                    mask=visible,
                    truncated=bool(shape.outline.min() < 0 or shape.outline.max() > size),
                    occluded=bool(visible.sum() < shape.mask.sum()),
                )
            )
    return _photograph(rng, canvas), instances


@dataclass(frozen=True)
class _Shape:
    """A polygon on the canvas.

    ``outline`` is ``(N, 2)`` xy in pixel edges, ``region`` the part of the canvas it touches,
    ``coverage`` ``(h, w)`` in 0..1 within the region, ``area`` includes what is off the canvas.
    """

    kind: str
    outline: np.ndarray
    region: tuple[slice, slice]
    coverage: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        return self.coverage >= 0.5

    @property
    def area(self) -> float:
        return cv2.contourArea(self.outline.astype(np.float32))


def _random_shape(
    rng: np.random.Generator, kind: str, size: int, placed: Sequence[_Shape]
) -> _Shape:
    """Choose outline, extent and position; some objects are placed against an earlier one."""
    unit = size / 192
    if kind in CLASSES:
        extent = np.clip(rng.lognormal(math.log(54), 0.46), 16, 110) * unit
    else:
        extent = rng.uniform(30, 150) * unit if kind == 'bar' else rng.uniform(14, 50) * unit
    outline = _outline(rng, kind)
    outline *= extent / np.ptp(outline, axis=0).max()
    neighbours = [shape.outline for shape in placed if shape.kind in CLASSES]
    if kind in CLASSES and neighbours and rng.random() < 0.3:
        neighbour = neighbours[rng.integers(len(neighbours))]
        distance = rng.uniform(0.5, 1.0) * (extent + np.ptp(neighbour, axis=0).max()) / 2
        angle = rng.uniform(0, 2 * math.pi)
        centre = neighbour.mean(axis=0) + distance * np.array([math.cos(angle), math.sin(angle)])
    else:
        centre = rng.uniform(0.08, 0.92, 2) * size
    outline += np.clip(centre, 0.08 * size, 0.92 * size)

    x0, y0 = np.clip(np.floor(outline.min(axis=0)), 0, size - 1).astype(int)
    x1, y1 = np.clip(np.ceil(outline.max(axis=0)), 1, size).astype(int)
    fine = np.zeros(((y1 - y0) * _SUPERSAMPLE, (x1 - x0) * _SUPERSAMPLE), np.uint8)
    points = np.rint((outline - (x0, y0)) * _SUPERSAMPLE - 0.5).astype(np.int32)
    cv2.fillPoly(fine, [points], 255)
    coverage = cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return _Shape(kind, outline, (slice(y0, y1), slice(x0, x1)), coverage.astype(np.float32) / 255)


def _outline(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Outline ``(N, 2)`` around the origin, of any extent; objects are roughly upright."""
    angles = np.linspace(0, 2 * math.pi, 60, endpoint=False) - math.pi / 2
    radii = np.ones(60)
    stretch = rng.uniform(0.8, 1)
    turn = rng.normal(0, 0.3) if kind in CLASSES else rng.uniform(0, 2 * math.pi)
    if kind == 'square':
        angles, radii = angles[::15] + math.pi / 4, radii[:4]
    elif kind == 'triangle':
        angles, radii = angles[::20], radii[:3]
    elif kind == 'star':
        angles = angles[::6]
        radii = np.where(np.arange(10) % 2, rng.uniform(0.38, 0.5), 1)
    elif kind == 'blob':
        waves = ((2, 0.3), (3, 0.25), (5, 0.12))
        radii += sum(a * np.sin(n * angles + rng.uniform(0, 2 * math.pi)) for n, a in waves)
    elif kind == 'bar':
        angles, radii = angles[::15] + math.pi / 4, radii[:4]
        stretch = rng.uniform(0.02, 0.1)
    elif kind == 'cross':
        arm = rng.uniform(0.15, 0.3)
        corner = np.array([1 + 1j * arm, arm + 1j * arm, arm + 1j])
        path = np.concatenate([corner * 1j**k for k in range(4)])
        angles, radii = np.angle(path), np.abs(path)
    elif kind == 'arc':
        angles = np.linspace(0, rng.uniform(2, 4.5), 30)
        angles = np.concatenate([angles, angles[::-1]])
        radii[30:] = rng.uniform(0.55, 0.8)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles) * stretch], axis=1)
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    return points @ rotation


def _colours(rng: np.random.Generator, hsv_range: tuple, count: int) -> np.ndarray:
    """RGB in 0..1, float32 ``(count, 3)``, between two HSV corners."""
    hsv = rng.uniform(*hsv_range, (count, 3)).tolist()
    return np.array([colorsys.hsv_to_rgb(*colour) for colour in hsv], np.float32)


def _surface(
    rng: np.random.Generator,
    height: int,
    width: int,
    colour: np.ndarray,
    hsv_range: tuple,
    *,
    wavelength: float,
) -> np.ndarray:
    """Textured and unevenly lit surface, float32 ``(height, width, 3)``, mainly of ``colour``."""
    pattern = _pattern(rng, height, width, wavelength)[..., None]
    other = colour + rng.uniform(0.2, 0.7) * (_colours(rng, hsv_range, 1)[0] - colour)
    light = 1 + rng.uniform(0, 0.3) * (2 * _ramp(rng, height, width) - 1)
    return (colour + pattern * (other - colour)) * light[..., None]


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.ogrid[:height, :width]
    return y.astype(np.float32), x.astype(np.float32)


def _ramp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Linear ramp from 0 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = _grid(height, width)
    ramp = x * math.cos(angle) + y * math.sin(angle)
    return (ramp - ramp.min()) / max(np.ptp(ramp), 1)


def _pattern(rng: np.random.Generator, height: int, width: int, wavelength: float) -> np.ndarray:
    """One of six patterns, float32 ``(height, width)`` in 0..1."""
    kind = rng.choice(('plain', 'plain', 'ramp', 'stripes', 'dots', 'checks', 'noise'))
    if kind == 'plain':
        return np.zeros((height, width), np.float32)
    if kind == 'ramp':
        return _ramp(rng, height, width)
    wavelength *= rng.uniform(0.6, 1.6)
    if kind == 'noise':
        pattern = np.zeros((height, width), np.float32)
        for scale, weight in ((wavelength, 0.6), (wavelength / 3, 0.4)):
            grid_hw = (math.ceil(height / scale) + 1, math.ceil(width / scale) + 1)
            grid = rng.random(grid_hw, dtype=np.float32)
            pattern += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        return pattern
    angle, phase = rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)
    frequency = 2 * math.pi / wavelength
    y, x = _grid(height, width)
    u = np.sin((x * math.cos(angle) + y * math.sin(angle)) * frequency + phase)
    if kind == 'stripes':
        waves = u
    else:
        v = np.sin((y * math.cos(angle) - x * math.sin(angle)) * frequency)
        waves = u * v if kind == 'checks' else u + v - 0.9
    return 0.5 + 0.5 * np.tanh(4 * waves)


def _paint(rng: np.random.Generator, canvas: np.ndarray, shape: _Shape) -> None:
    """Paint a shape onto the canvas, in place, in a colour that contrasts with the canvas."""
    if rng.random() < 0.3:
        _cast_shadow(rng, canvas, shape)
    patch = canvas[shape.region]
    weights = shape.coverage / max(shape.coverage.sum(), 1)
    below = np.einsum('hwc,hw->c', patch, weights)
    # Always six draws: rounding of the pixels must not change what is drawn later.
    hsv_range = _hsv_range(rng, shape.kind)
    candidates = _colours(rng, hsv_range, 6)
    distances = np.linalg.norm(candidates - below, axis=1)
    colour = candidates[np.argmax(distances > 0.35)]
    height, width = shape.coverage.shape
    wavelength = max(5.0, min(height, width) / 3)
    surface = _surface(rng, height, width, colour, hsv_range, wavelength=wavelength)
    if rng.random() < 0.35:
        rim = 1 - cv2.erode(shape.coverage, np.ones((3, 3)), borderValue=1)
        surface *= 1 + rng.uniform(-0.6, 0.4) * rim[..., None]
    patch += shape.coverage[..., None] * (surface - patch)


def _hsv_range(rng: np.random.Generator, kind: str) -> tuple:
    is_odd = rng.random() < (_UNUSUAL if kind in CLASSES else 0.4)
    if kind not in CLASSES:
        return _VIVID if is_odd else _MUTED
    if is_odd:
        return _VIVID
    low, high = _VIVID
    hue = _USUAL_HUE[kind]
    return (hue - _HUE_SPREAD, *low[1:]), (hue + _HUE_SPREAD, *high[1:])


def _cast_shadow(rng: np.random.Generator, canvas: np.ndarray, shape: _Shape) -> None:
    size = canvas.shape[0]
    shadow = np.zeros((size, size), np.float32)
    shadow[shape.region] = shape.coverage
    shift = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    shift[:, 2] = rng.uniform(-0.03, 0.03, 2) * size
    shadow = cv2.GaussianBlur(cv2.warpAffine(shadow, shift, (size, size)), (0, 0), size / 96)
    canvas *= 1 - rng.uniform(0.2, 0.5) * shadow[..., None]


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Simulate exposure, blur and grain; uint8 from float32 of the same shape."""
    levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.4)
    exposed = levels * rng.uniform(0.6, 1.15) * rng.uniform(0.9, 1.1, 3)
    pixels = np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    image = cv2.LUT(pixels, exposed.astype(np.float32)[:, None])
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1))
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    image += grain * np.float32(rng.uniform(0.005, 0.03))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
