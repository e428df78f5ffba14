"""Compare an exported file with the PyTorch model on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...annotations.overlaps import match_one_to_one, shared_and_union
from ...deploy.predictor import Prediction

RAW_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What the boxes and masks of two models may differ by.

    Attributes:
        least_iou: A box is found again by one of its class with this IoU or more.
        score: Largest difference of the scores of two such boxes.
        least_share: Of boxes and pixels must agree; rounding flips a few at a threshold.
        probability: Largest difference of the probability of a class.
    """

    least_iou: float
    score: float
    least_share: float
    probability: float


TOLERANCES = {
    'float32': Tolerance(least_iou=0.99, score=1e-3, least_share=0.995, probability=1e-4),
    'float16': Tolerance(least_iou=0.8, score=0.05, least_share=0.95, probability=0.05),
}


@dataclass
class Comparison:
    """The differences between the predictions of two models.

    Attributes:
        num_images: Images that were compared.
        raw: Largest difference of each raw output; for boxes as a fraction of the image side.
        num_boxes: Boxes that PyTorch found.
        num_matched: Those of them with a box of the same class, by `tolerance.least_iou`.
        least_iou: Lowest IoU of the matched boxes.
        score_difference: Largest score difference of the matched boxes.
        num_extra: Boxes of the exported model that PyTorch did not find.
        num_pixels: Pixels of the masks.
        num_equal_pixels: Those of them with the same class.
        probability_difference: Largest difference of the probability of a class; `None` without.
        num_equal_classes: Images with the same likeliest class.
        tolerance: What boxes and masks may differ by.
    """

    num_images: int = 0
    raw: dict[str, float] = field(default_factory=dict)
    num_boxes: int = 0
    num_matched: int = 0
    least_iou: float = 1.0
    score_difference: float = 0.0
    num_extra: int = 0
    num_pixels: int = 0
    num_equal_pixels: int = 0
    probability_difference: float | None = None
    num_equal_classes: int = 0
    tolerance: Tolerance = TOLERANCES['float32']

    @property
    def equal_pixels(self) -> float | None:
        """Share of pixels with the same class; `None` without masks."""
        return self.num_equal_pixels / self.num_pixels if self.num_pixels else None

    def problems(self) -> list[str]:
        """Return what exceeds its tolerance; empty if all is well."""
        found = [
            f'{name} differ by {value:.2e}, more than {RAW_TOLERANCE:.0e}'
            for name, value in self.raw.items()
            if not value <= RAW_TOLERANCE
        ]
        least = self.tolerance.least_share
        allowed = self.num_boxes * (1 - least)
        lost = self.num_boxes - self.num_matched
        if max(lost, self.num_extra) > allowed:
            found.append(f'{lost} boxes are missing and {self.num_extra} are extra')
        if not self.score_difference <= self.tolerance.score:
            found.append(f'scores of boxes differ by {self.score_difference:.2e}')
        if self.equal_pixels is not None and not self.equal_pixels >= least:
            found.append(f'only {self.equal_pixels:.2%} of the pixels are equal')
        if self.probability_difference is not None:
            if not self.probability_difference <= self.tolerance.probability:
                found.append(f'probabilities differ by {self.probability_difference:.2e}')
            if self.num_equal_classes < least * self.num_images:
                found.append(
                    f'only {self.num_equal_classes} of {self.num_images} images have the same class'
                )
        return found

    def __str__(self) -> str:
        lines = [f'Compared with PyTorch on {self.num_images} images:']
        for name, value in self.raw.items():
            unit = ' of the image side' if name == 'boxes' else ''
            lines.append(f'  largest difference of the raw {name}: {value:.2e}{unit}')
        if 'boxes' in self.raw or self.num_boxes:
            lines.append(
                f'  detections: {self.num_matched} of {self.num_boxes} found again with the same '
                f'class, IoU at least {self.least_iou:.4f}, scores within '
                f'{self.score_difference:.1e}; {self.num_extra} extra'
            )
        if self.equal_pixels is not None:
            lines.append(f'  equal pixels: {self.equal_pixels:.4%}')
        if self.probability_difference is not None:
            lines.append(
                f'  probabilities within {self.probability_difference:.1e}; the same likeliest '
                f'class on {self.num_equal_classes} of {self.num_images} images'
            )
        return '\n'.join(lines)


def raw_difference(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], side: int
) -> dict[str, float]:
    """Return the largest difference of each output; boxes are divided by `side`, in pixels.

    A value that is not finite in either output counts as an infinite difference.
    """
    result = {}
    for name, expected in theirs.items():
        given = np.asarray(ours[name], np.float64)
        if given.shape != expected.shape:
            result[name] = float('inf')
            continue
        difference = np.abs(given - expected).max(initial=0.0)
        difference = difference / (side if name == 'boxes' else 1)
        result[name] = float(difference) if np.isfinite(difference) else float('inf')
    return result


def compare_predictions(
    result: Comparison, ours: Sequence[Prediction], theirs: Sequence[Prediction]
) -> None:
    """Add the boxes, masks and classes of some images to a comparison, in place.

    Boxes of one class that overlap by its tolerance or more are paired, closest score first.
    """
    for given, expected in zip(ours, theirs, strict=True):
        boxes = given.boxes.astype(np.float64), expected.boxes.astype(np.float64)
        shared, union = shared_and_union(*boxes)
        overlap = np.divide(shared, union, out=np.ones_like(union), where=union > 0)
        is_pair = (overlap >= result.tolerance.least_iou) & (
            given.labels[:, None] == expected.labels
        )
        distance = np.abs(given.scores.astype(np.float64)[:, None] - expected.scores)
        matched = match_one_to_one(is_pair, distance)
        pairs = np.flatnonzero(matched >= 0), matched[matched >= 0]
        num_pairs = len(pairs[0])
        result.num_boxes += len(expected.scores)
        result.num_matched += num_pairs
        result.num_extra += len(given.scores) - num_pairs
        difference = float(distance[pairs].max(initial=0))
        result.score_difference = max(result.score_difference, difference)
        result.least_iou = min(result.least_iou, float(overlap[pairs].min(initial=1)))
        if expected.mask is not None:
            result.num_equal_pixels += int((given.mask == expected.mask).sum())
            result.num_pixels += expected.mask.size
        if expected.probabilities is not None:
            pair = given.probabilities.astype(np.float64), expected.probabilities
            difference = np.nan_to_num(np.abs(pair[0] - pair[1]).max(), nan=np.inf)
            result.probability_difference = max(result.probability_difference or 0.0, difference)
            result.num_equal_classes += int(pair[0].argmax() == pair[1].argmax())
