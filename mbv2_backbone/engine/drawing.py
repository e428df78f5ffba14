"""Pictures of predictions: boxes, and masks with a legend."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence

import cv2
import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..data.image_files import decode_image
from ..files import result_path
from .palettes import class_meta, mask_meta

OPACITY = 0.55
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


class Painter:
    """Draws what a data sample has: masks with a legend, boxes, or both.

    Args:
        classes: Names of the labels of the masks.
        palette: Their colours, RGB.
        box_classes: Names of the labels of the boxes.
        box_palette: Their colours, RGB.
        score_thr: Boxes below it are not drawn.
    """

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        *,
        box_classes: Sequence[str] = (),
        box_palette: Sequence[Sequence[int]] = (),
        score_thr: float = 0.3,
    ) -> None:
        self.classes = classes
        self.palette = palette
        self.box_classes = box_classes
        self.box_palette = box_palette
        self.score_thr = score_thr

    def prediction(
        self, image: np.ndarray, sample: BaseDataElement, *, whole_legend: bool = False
    ) -> np.ndarray:
        """Draw the prediction; the legend stands below the image.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            sample: mmdet's or mmseg's data sample.
            whole_legend: Whether the legend has all classes, not only those that occur. The
                pictures of images of one size are of one size then, as those of a video must be.

        Returns:
            `(H', W', 3)` uint8 BGR, H' >= H and W' >= W.
        """
        picture = self.draw(image, sample, 'pred')
        labels = mask_labels(sample, 'pred_sem_seg')
        if labels is None:
            return picture
        shown = range(len(self.classes)) if whole_legend else np.unique(labels)
        return self._with_legend(picture, shown, size_hw=image.shape[:2])

    def comparison(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        """Draw the truth and the prediction side by side, with one legend.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            sample: A data sample with masks; without a true one the prediction stands alone.

        Returns:
            `(H', W', 3)` uint8 BGR.
        """
        truth = mask_labels(sample, 'gt_sem_seg')
        if truth is None:
            return self.prediction(image, sample)
        size_hw = image.shape[:2]
        gap = np.full((size_hw[0], max(4, size_hw[1] // 60), 3), 255, np.uint8)
        panels = [self.draw(image, sample, 'gt'), gap, self.draw(image, sample, 'pred')]
        captions = [('truth', 0), ('prediction', size_hw[1] + gap.shape[1])]
        picture = np.concatenate(panels, axis=1)
        picture = np.concatenate([caption_strip(captions, picture.shape[1], size_hw), picture])
        shown = np.union1d(truth, mask_labels(sample, 'pred_sem_seg'))
        return self._with_legend(picture, shown, size_hw=size_hw)

    def draw(self, image: np.ndarray, sample: BaseDataElement, side: str) -> np.ndarray:
        """Draw the truth (`gt`) or the prediction (`pred`), masks below boxes, no legend."""
        labels = mask_labels(sample, f'{side}_sem_seg')
        if labels is not None:
            if labels.shape != image.shape[:2]:  # a truth that was resized with its image
                labels = mmcv.imresize(labels, image.shape[1::-1], interpolation='nearest')
            image = overlay(image, labels, self.palette)
        key = f'{side}_instances'
        return self._with_boxes(image, sample.get(key).cpu()) if key in sample else image

    def _with_boxes(self, image: np.ndarray, found: InstanceData) -> np.ndarray:
        if 'scores' in found:
            found = found[found.scores >= self.score_thr]
        labels = found.labels.tolist()
        names = [self.box_classes[label] for label in labels]
        if 'scores' in found:
            scores = found.scores.tolist()
            names = [f'{name} {score:.2f}' for name, score in zip(names, scores, strict=True)]
        colours = [self.box_palette[label] for label in labels]
        return draw_boxes(image, found.bboxes.numpy(), names, colours)

    def _with_legend(
        self, picture: np.ndarray, labels: Sequence[int], *, size_hw: tuple[int, int]
    ) -> np.ndarray:
        labels = [int(label) for label in labels if label < len(self.classes)]
        entries = [(self.classes[label], self.palette[label]) for label in labels]
        strip = legend_strip(entries, picture.shape[1], size_hw)
        margin = strip.shape[1] - picture.shape[1]
        picture = np.pad(picture, ((0, 0), (0, margin), (0, 0)), constant_values=255)
        return np.concatenate([picture, strip])


@HOOKS.register_module()
class PictureHook(Hook):
    """Writes truth and prediction of each test image side by side, as `<folder>/<name>.jpg`.

    Args:
        folder: Where the pictures go.
        task: `seg` or `joint`.
        image_root: Folder of the images; what is below it is kept below `folder`.
    """

    def __init__(self, *, folder: str, task: str, image_root: str | None = None) -> None:
        self.folder = folder
        self.task = task
        self.image_root = image_root

    def before_test_epoch(self, runner: Runner) -> None:
        """Take the names and colours of the classes from the dataset."""
        self.painter = build_painter(runner.cfg, self.task)

    def after_test_iter(
        self,
        runner: Runner,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        data_batch: dict | None = None,  # noqa: ARG002
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw one batch."""
        for sample in outputs:
            picture = self.painter.comparison(decode_image(get(sample.img_path)), sample)
            path = result_path(sample.img_path, self.image_root, self.folder, '.jpg')
            cv2.imwrite(str(path), picture)


def build_painter(cfg: Config, task: str, *, score_thr: float = 0.3) -> Painter:
    """Build the painter of what a model predicts, in the colours of a config's data."""
    masks = dict(classes=(), palette=()) if task == 'det' else mask_meta(cfg)
    if task == 'seg':
        return Painter(masks['classes'], masks['palette'])
    boxes = class_meta(cfg)
    return Painter(
        masks['classes'],
        masks['palette'],
        box_classes=boxes['classes'],
        box_palette=boxes['palette'],
        score_thr=score_thr,
    )


def mask_labels(sample: BaseDataElement, key: str) -> np.ndarray | None:
    """Return the label of each pixel `(H, W)` uint8 of `pred_sem_seg` or `gt_sem_seg`."""
    labels = mask_tensor(sample, key)
    return None if labels is None else labels.cpu().numpy().astype(np.uint8)


def mask_tensor(sample: BaseDataElement, key: str) -> Tensor | None:
    """Return the label of each pixel `(H, W)` of `pred_sem_seg` or `gt_sem_seg`, where it is."""
    if key not in sample:
        return None
    field = sample.get(key)
    labels = field.sem_seg if 'sem_seg' in field else field.data  # mmdet's name and mmseg's
    return labels.squeeze(0)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette_rgb: Sequence[Sequence[int]]
) -> np.ndarray:
    """Lay the colours of the labels over an image.

    Where a label has no colour or is black, as backgrounds are, the image stays bare.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        labels: `(H, W)` uint8.
        palette_rgb: Colour of each label.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette_rgb)] = np.asarray(palette_rgb)[:, ::-1]
    coloured = cv2.applyColorMap(labels, colours[:, None])
    mixed = cv2.addWeighted(image, 1 - OPACITY, coloured, OPACITY, 0)
    is_bare = (~colours.any(axis=1)).astype(np.uint8)
    return cv2.copyTo(image, cv2.LUT(labels, is_bare), mixed)


def draw_boxes(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    names: Sequence[str],
    colours_rgb: Sequence[Sequence[int]],
) -> np.ndarray:
    """Draw boxes with a name each; the first of them, which has the highest score, comes on top.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        boxes_xyxy: `(D, 4)` in pixels.
        names: What is written on each.
        colours_rgb: Colour of each.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    draw = ImageDraw.Draw(picture)
    font = letter_font(image.shape[:2])
    line, width = font.size * 5 // 4, max(2, font.size // 6)
    for box, name, colour in reversed(list(zip(boxes_xyxy, names, colours_rgb, strict=True))):
        x1, y1, x2, y2 = (float(v) for v in box)
        colour = tuple(int(v) for v in colour)
        draw.rectangle([x1, y1, max(x1, x2), max(y1, y2)], outline=colour, width=width)
        tag = _text_width(name, font) + font.size // 2
        x = min(max(0.0, x1), max(0.0, picture.width - tag))
        y = y1 - line if y1 >= line else max(0.0, y1)
        draw.rectangle([x, y, x + tag, y + line], fill=colour)
        middle = (x + tag / 2, y + line / 2)
        draw.text(middle, name, fill=ink_on(colour), font=font, anchor='mm')
    return np.asarray(picture)[..., ::-1]


def ink_on(colour_rgb: Sequence[int]) -> tuple[int, int, int]:
    """Return black or white, whichever stands out from a colour."""
    return (0, 0, 0) if np.dot(colour_rgb, _LUMINANCE) > 140 else (255, 255, 255)


def legend_strip(
    entries: Sequence[tuple[str, Sequence[int]]], width: int, size_hw: tuple[int, int]
) -> np.ndarray:
    """Draw swatches with names on white, in as many columns as fit.

    Args:
        entries: Name and colour RGB of each class.
        width: Of the strip in pixels; it is wider where the longest name asks for it.
        size_hw: Of the image, to which the letters are sized.

    Returns:
        `(H', W', 3)` uint8 BGR.
    """
    font = letter_font(size_hw)
    line, pad = font.size * 3 // 2, font.size // 2
    cell = max((_text_width(name, font) for name, _ in entries), default=0) + line + 2 * pad
    columns = max(1, width // cell)
    height = -(-len(entries) // columns) * line + pad
    height += height % 2  # video codecs take even heights
    strip = Image.new('RGB', (max(width, cell), height), 'white')
    draw = ImageDraw.Draw(strip)
    for i, (name, colour) in enumerate(entries):
        x, y = i % columns * cell + pad, i // columns * line + pad // 2
        top = y + (line - font.size) // 2
        box = [x, top, x + font.size - 1, top + font.size - 1]
        draw.rectangle(box, fill=tuple(int(v) for v in colour), outline='gray')
        draw.text((x + line, y + line // 2), name, fill='black', font=font, anchor='lm')
    return np.asarray(strip)[..., ::-1]


def caption_strip(
    captions: Sequence[tuple[str, int]], width: int, size_hw: tuple[int, int]
) -> np.ndarray:
    """Write captions on white, each from its x position on; `(H', width, 3)` uint8 BGR."""
    font = letter_font(size_hw)
    line = font.size * 3 // 2
    strip = Image.new('RGB', (width, line), 'white')
    for text, x in captions:
        ImageDraw.Draw(strip).text(
            (x + font.size // 2, line // 2), text, fill='black', font=font, anchor='lm'
        )
    return np.asarray(strip)[..., ::-1]


def fitted_size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return width and height of an image that fills a square."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resize an image as looks best, smaller or larger."""
    shrinks = size_wh[0] < image.shape[1]
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def letter_font(size_hw: tuple[int, int]) -> ImageFont.FreeTypeFont:
    """Return a font whose letters fit pictures of a size."""
    import matplotlib  # comes with mmengine, and its font has the letters of most class names

    path = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(path, min(40, max(11, min(size_hw) // 28)))


def _text_width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(font.getlength(text)) + 1
