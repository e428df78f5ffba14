"""Find masks that cannot be used for training before the first iteration."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...annotations.images import read_image_facts
from ...annotations.masks import (
    COLOUR_MODES,
    INDEX_MODES,
    NO_PALETTE,
    TRANSLUCENT,
    MaskCoding,
    Problem,
    Value,
    colour_labels,
    format_problem,
    index_labels,
    num_pixels,
    unknown_colour,
)
from .scan import scan_files

# More values than there are labels, so one of the kept values must be wrong.
_MAX_VALUES = 300


@dataclass(frozen=True)
class MaskFacts:
    """The contents of a mask file, independent of the classes.

    Attributes:
        format: PIL's name of the file format, such as `PNG`.
        mode: PIL's name of the kind of pixels, such as `P` for palette indices.
        size_wh: Width and height of the mask in pixels.
        image_wh: Width and height of its image, rotated as its EXIF data says; zeros for a broken
            image, which is not the mask's fault.
        counts: Number of pixels of each value: an index, or an RGB or RGBA colour.
        error: Why the mask cannot be read; the rest is empty then.
    """

    format: str = ''
    mode: str = ''
    size_wh: tuple[int, int] = (0, 0)
    image_wh: tuple[int, int] = (0, 0)
    counts: tuple[tuple[Value, int], ...] = ()
    error: str = ''


@dataclass(frozen=True)
class MaskRules:
    """What the masks of a dataset may contain.

    Attributes:
        num_classes: Labels from 0 to `num_classes - 1` are trained on.
        coding: How the labels are coded.
        ignore_index: Label that the loss ignores.
        reads_colours: Whether `LoadLabelMap` reads them; mmseg's `LoadAnnotations` reads indices
            only.
        backend: The decoder of `LoadAnnotations`: `pillow` or `cv2`.
    """

    num_classes: int
    coding: MaskCoding
    ignore_index: int = 255
    reads_colours: bool = False
    backend: str = 'pillow'

    def allows(self, label: int) -> bool:
        """Return whether the loss accepts a label."""
        return 0 <= label < self.num_classes or label == self.ignore_index


def scan_masks(pairs: Sequence[tuple[str, str]], cache: Path) -> list[MaskFacts]:
    """Read all masks, or use the cached results of those that have not changed.

    Args:
        pairs: Paths of a mask and its image.
        cache: JSON file that caches the results; created with its folder.
    """
    return scan_files(pairs, read_facts, cache, kind=MaskFacts, what='Checking masks', unit='masks')


def read_facts(mask: str, image: str) -> MaskFacts:
    """Read the facts about a mask, and the size of its image."""
    if not os.path.isfile(mask):
        return MaskFacts(error='does not exist')
    try:
        with Image.open(mask) as pixels:
            counts = tuple(_count_values(pixels).most_common(_MAX_VALUES))
            file_format, mode, size_wh = pixels.format, pixels.mode, pixels.size
    except Exception as error:  # on damaged files Pillow raises almost anything
        return MaskFacts(error=f'cannot be read: {error}')
    return MaskFacts(file_format, mode, size_wh, read_image_facts(image).seen_wh, counts)


def _count_values(image: Image.Image) -> Counter[Value]:
    if image.mode == '1':
        counts = image.histogram()
        return +Counter({0: counts[0], 1: counts[255]})
    if image.mode in ('L', 'P'):
        return +Counter(dict(enumerate(image.histogram())))
    if image.mode in COLOUR_MODES:
        return Counter({colour: n for n, colour in image.getcolors(image.width * image.height)})
    if image.mode in INDEX_MODES:
        values, numbers = np.unique(np.asarray(image), return_counts=True)
        return Counter(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    image.load()  # this raises for a broken file, whatever its pixel mode
    return Counter()


def mask_problem(facts: MaskFacts, rules: MaskRules) -> Problem | None:
    """Return why a mask cannot be trained on; `None` for a valid mask."""
    if facts.error:
        return Problem(facts.error, 'fix the file, or remove the image from the list')
    problem = format_problem(facts.format, facts.mode)
    if problem:
        return problem
    if any(facts.image_wh) and facts.size_wh != facts.image_wh:
        mask, image = ('x'.join(map(str, wh)) for wh in (facts.size_wh, facts.image_wh))
        return Problem(
            f'is {mask} pixels, but its image is {image}', 'a mask must have the size of its image'
        )
    if facts.mode in COLOUR_MODES:
        return _colour_problem(facts, rules)
    if rules.backend == 'cv2' and facts.mode in ('P', '1'):
        return Problem(
            f"is of mode {facts.mode}, of which imdecode_backend='cv2' reads wrong values",
            'remove that argument of LoadAnnotations',
        )
    return _index_problem(facts, rules)


def _index_problem(facts: MaskFacts, rules: MaskRules) -> Problem | None:
    labels = index_labels(rules.coding).tolist()
    wrong = [(v, n) for v, n in facts.counts if not 0 <= v <= 255 or not rules.allows(labels[v])]
    if not wrong:
        return None
    found = ', '.join(f'{value} on {num_pixels(count)}' for value, count in wrong[:5])
    classes = [v for v, label in enumerate(labels) if label < rules.num_classes]
    ignored = [v for v, label in enumerate(labels) if label == rules.ignore_index]
    return Problem(
        f'has the value {found}{", …" if len(wrong) > 5 else ""}; the classes are '
        f'{_ranges(classes)}, and {_ranges(ignored)} is ignored',
        f'fix the masks or `classes`, or ignore the value: '
        f"dict(type='LoadLabelMap', ignore=[{wrong[0][0]}])",
    )


def _colour_problem(facts: MaskFacts, rules: MaskRules) -> Problem | None:
    if not rules.reads_colours:
        return Problem(
            f'stores the classes as colours (mode {facts.mode}), and '
            'LoadAnnotations reads indices only',
            "use dict(type='LoadLabelMap') instead",
        )
    if not rules.coding.palette:
        return NO_PALETTE
    if any(len(colour) == 4 and colour[3] < 255 for colour, _ in facts.counts):
        return TRANSLUCENT
    labels = colour_labels(rules.coding)
    for colour, count in facts.counts:
        label = labels.get(colour[:3], 255 if rules.coding.ignore_unknown else None)
        if label is None:
            return unknown_colour(colour[:3], count)
        if not rules.allows(label):
            return Problem(
                f'has the colour {colour[:3]} on {num_pixels(count)}, which is label {label} in '
                f'the palette; there are {rules.num_classes} classes, and {rules.ignore_index} is '
                f'ignored',
                'give a palette of the classes in their order',
            )
    return None


def _ranges(values: Sequence[int]) -> str:
    """Write sorted numbers as ranges.

    Example:
        >>> _ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    parts = np.split(np.asarray(values), np.flatnonzero(np.diff(values) > 1) + 1)
    spans = [f'{p[0]}-{p[-1]}' if len(p) > 1 else f'{p[0]}' for p in parts if len(p)]
    return ', '.join(spans) or 'nothing'
