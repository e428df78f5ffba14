"""Match detections to ground truth boxes, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...annotations.overlaps import match_one_to_one, pairwise_iou

SCORE_THR = 0.3
IOU_THR = 0.5


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image.

    Attributes:
        xyxy: `(N, 4)` float32, in pixels of the file.
        labels: `(N,)`.
        scores: `(N,)`; for ground truth, 0 for boxes that are not counted (COCO's crowds, VOC's
            difficult ones), else 1.
    """

    xyxy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.labels)

    def where(self, kept: np.ndarray) -> Boxes:
        """Return the boxes that a mask or indices select."""
        return Boxes(self.xyxy[kept], self.labels[kept], self.scores[kept])


def match_boxes(found: Boxes, truth: Boxes) -> np.ndarray:
    """Match detections to the ground truth, one to one.

    Pairs of one class are matched first, by descending overlap; the rest is matched across
    classes.

    Returns:
        `(len(found),)`: the index of the ground truth box, or -1.
    """
    iou = pairwise_iou(found.xyxy, truth.xyxy)
    is_other = found.labels[:, None] != truth.labels
    return match_one_to_one(iou >= IOU_THR, -iou, is_other)


@dataclass(frozen=True)
class Match:
    """The detections of an image above a score, and its ground truth.

    Attributes:
        found: The detections that count.
        truth: The boxes that count.
        matched: For each detection the index of its ground truth box, or -1.
    """

    found: Boxes
    truth: Boxes
    matched: np.ndarray

    @property
    def is_right(self) -> np.ndarray:
        """Whether each detection is matched with a box of its class, `(len(found),)`."""
        if not len(self.truth):
            return np.zeros(len(self.found), bool)
        return (self.matched >= 0) & (self.truth.labels[self.matched] == self.found.labels)

    @property
    def is_seen(self) -> np.ndarray:
        """Whether each ground truth box was found with its class, `(len(truth),)`."""
        seen = np.zeros(len(self.truth), bool)
        seen[self.matched[self.is_right]] = True
        return seen

    @property
    def f1(self) -> float:
        """2 x right / (detections + boxes); 1 if there are neither."""
        total = len(self.found) + len(self.truth)
        return 2 * int(self.is_right.sum()) / total if total else 1.0


def match_image(found: Boxes, truth: Boxes) -> Match:
    """Match the detections of an image.

    A detection with at least half of its area in a box that is not counted is not counted either,
    unless it is matched with a box that is.
    """
    found = found.where(found.scores >= SCORE_THR)
    counted, ignored = truth.where(truth.scores > 0), truth.where(truth.scores == 0)
    matched = match_boxes(found, counted)
    covered = pairwise_iou(found.xyxy, ignored.xyxy, over_first=True).max(axis=1, initial=0)
    kept = (matched >= 0) | (covered < 0.5)
    return Match(found.where(kept), counted, matched[kept])


def confusion_of(match: Match, num_classes: int) -> np.ndarray:
    """Count the pairs of true and predicted class.

    Returns:
        `(C + 1, C + 1)`: rows are the ground truth, columns the detections; the last row counts
        detections without a match, the last column boxes that were not found.
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    truth_of_found = np.full(len(match.found), num_classes)
    is_matched = match.matched >= 0
    truth_of_found[is_matched] = match.truth.labels[match.matched[is_matched]]
    np.add.at(counts, (truth_of_found, match.found.labels), 1)
    missed = np.setdiff1d(np.arange(len(match.truth)), match.matched)
    np.add.at(counts, (match.truth.labels[missed], num_classes), 1)
    return counts
