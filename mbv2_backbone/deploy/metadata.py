"""Metadata of an exported file: sizes, labels, thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields

from ..common.messages import UserError

FORMAT = 4
_READABLE = (2, 3, 4)  # fields that an older file lacks have the values of their defaults
PREFIX = 'mbv2_backbone'


@dataclass(frozen=True)
class Detection:
    """How the network's outputs become boxes.

    Attributes:
        classes: Names, by label.
        palette: A colour (RGB, 0 to 255) per class, or `None`.
        score_thr: The score of a box must be above it.
        iou_thr: If two boxes of a class overlap by more, only the better one is kept.
        nms_pre: Most pairs of box and class that enter NMS from one level; -1 means all.
        max_per_img: Most boxes per image; -1 means all.
        min_bbox_size: Width and height, in pixels of the input, must be above it; a negative value
            sets no limit.
        level_sizes: Number of boxes of each level, in the order of the raw outputs.
        clip_after_nms: Whether boxes are clipped to the image after NMS, and those left without
            area dropped; otherwise the raw outputs are clipped.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    score_thr: float
    iou_thr: float
    nms_pre: int
    max_per_img: int
    min_bbox_size: float
    level_sizes: tuple[int, ...]
    clip_after_nms: bool = False


@dataclass(frozen=True)
class Segmentation:
    """What the values of a mask mean.

    Attributes:
        classes: Names, by value.
        palette: A colour (RGB, 0 to 255) per class, or `None`.
        align_corners: Whether the corners of the logits are aligned with those of the image when
            they are resized to it; otherwise their cells cover equal parts of it.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    align_corners: bool


@dataclass(frozen=True)
class Classification:
    """What the probabilities of whole images belong to.

    Attributes:
        classes: Names, in order.
        palette: A colour (RGB, 0 to 255) per class, or `None`.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None


@dataclass(frozen=True, kw_only=True)
class InputRules:
    """How an image of any size is fitted to the size that an exported file takes.

    Attributes:
        input_size: `(height, width)` of the image that the file takes, in pixels.
        fit: How other images are fitted to that size: `stretch`, `pad` (resized with their ratio
            kept, then padded at the right and bottom), or `centre` (see `class_view.centre_view`).
        within: With `pad`, the longest and the shortest side that an image is resized to, in
            pixels; `None` only shrinks images that are too large.
        pad_value: With `pad`, RGB of the padding, 0 to 255.
        interpolation: With `stretch`, `bilinear` (OpenCV's) or `legacy` (TensorFlow 1's); with
            `centre`, `bilinear` or `bicubic` (Pillow's) or `legacy`.
        resize: With `centre`, the shorter side of the image before it is cut, in pixels.
    """

    input_size: tuple[int, int]
    fit: str
    within: tuple[int, int] | None
    pad_value: tuple[int, int, int]
    interpolation: str = 'bilinear'
    resize: int | None = None

    @property
    def input_type(self) -> str:
        """Type of the file's input: TensorFlow 1 does not round a resized image."""
        return 'float32' if self.interpolation == 'legacy' else 'uint8'


@dataclass(frozen=True, kw_only=True)
class Metadata(InputRules):
    """What is written into every exported file.

    Attributes:
        batch_size: Images per call; `None` means any number.
        is_raw: Whether the outputs are scores and boxes before NMS, logits without a mask, and
            logits instead of probabilities.
        precision: `float32`, `float16` or `int8`.
        detection: `None` if the file gives no boxes.
        segmentation: `None` if the file gives no masks.
        classification: `None` if the file gives no classes of whole images.
        format: Version of this description.
    """

    batch_size: int | None
    is_raw: bool
    precision: str
    detection: Detection | None
    segmentation: Segmentation | None
    classification: Classification | None = None
    format: int = FORMAT

    @property
    def task(self) -> str:
        """`det`, `seg`, `joint` or `cls`."""
        if self.detection and self.segmentation:
            return 'joint'
        if self.classification:
            return 'cls'
        return 'det' if self.detection else 'seg'

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        names: tuple[str, ...] = ()
        if self.detection:
            names += ('scores', 'boxes') if self.is_raw else ('boxes', 'scores', 'labels')
        if self.segmentation:
            names += ('logits',) if self.is_raw else ('mask', 'logits')
        if self.classification:
            names += ('class_logits',) if self.is_raw else ('probabilities',)
        return names

    def to_strings(self) -> dict[str, str]:
        """Return one JSON text per field, for the key-value stores of the file formats."""
        return {'task': json.dumps(self.task)} | {
            key: json.dumps(value) for key, value in asdict(self).items()
        }

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: str) -> Metadata:
        """Rebuild metadata from what `to_strings` returned.

        Args:
            strings: Metadata read from a file.
            path: Path of the file, for the message.

        Raises:
            UserError: If the file was not written by this package, or by a newer one.
        """
        try:
            version = json.loads(strings['format'])
            if version not in _READABLE:
                raise UserError(
                    f'{path} was exported in format {version}, this mbv2_backbone runs {FORMAT}: '
                    + ('update it' if version > FORMAT else 'export the checkpoint again')
                )
            values = {
                field.name: json.loads(strings[field.name])
                for field in fields(cls)
                if field.name in strings or field.default is MISSING
            }
            for name, kind in _PARTS.items():
                if values.get(name) is not None:
                    values[name] = kind(**_as_tuples(values[name]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(
                f'{path} has no valid metadata ({type(error).__name__}: {error}); '
                f'only files that tools/export.py wrote can be run here'
            ) from error
        return cls(**_as_tuples(values))


_PARTS = dict(detection=Detection, segmentation=Segmentation, classification=Classification)


def _as_tuples(values: dict) -> dict:
    return {
        key: tuple(tuple(v) if isinstance(v, list) else v for v in value)
        if isinstance(value, list)
        else value
        for key, value in values.items()
    }
