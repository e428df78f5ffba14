"""Pictures of predictions: boxes, and masks with a legend."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence

import cv2
import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, VISUALIZERS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw, ImageFont

from ..data.results import result_path
from .config import dataset_meta, task_of
from .palettes import mask_meta

OPACITY = 0.55


class Painter:
    """Draws what a data sample has: masks with a legend, boxes, or both.

    Args:
        classes: Names of the labels of the masks.
        palette: Their colours, RGB.
        box_visualizer: mmdet's visualizer; without it boxes are not drawn.
        score_thr: Boxes below it are not drawn.
    """

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        *,
        box_visualizer: Visualizer | None = None,
        score_thr: float = 0.3,
    ) -> None:
        self.classes = classes
        self.palette = palette
        self.box_visualizer = box_visualizer
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
        picture = self._draw(image, sample, 'pred')
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
        panels = [self._draw(image, sample, 'gt'), gap, self._draw(image, sample, 'pred')]
        captions = [('truth', 0), ('prediction', size_hw[1] + gap.shape[1])]
        picture = np.concatenate(panels, axis=1)
        picture = np.concatenate([caption_strip(captions, picture.shape[1], size_hw), picture])
        shown = np.union1d(truth, mask_labels(sample, 'pred_sem_seg'))
        return self._with_legend(picture, shown, size_hw=size_hw)

    def _draw(self, image: np.ndarray, sample: BaseDataElement, side: str) -> np.ndarray:
        """Draw the truth (`gt`) or the prediction (`pred`), masks below boxes."""
        labels = mask_labels(sample, f'{side}_sem_seg')
        if labels is not None:
            if labels.shape != image.shape[:2]:  # a truth that was resized with its image
                labels = mmcv.imresize(labels, image.shape[1::-1], interpolation='nearest')
            image = overlay(image, labels, self.palette)
        key = f'{side}_instances'
        if self.box_visualizer is None or key not in sample:
            return image
        # The boxes alone: mmdet's visualizer would draw masks, too, in its own way.
        boxes = type(sample)(**{key: sample.get(key).cpu()})
        sides = dict(draw_gt=side == 'gt', draw_pred=side == 'pred')
        self.box_visualizer.add_datasample(
            'picture', image[..., ::-1], boxes, pred_score_thr=self.score_thr, **sides
        )
        return self.box_visualizer.get_image()[..., ::-1]

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
        image_root: Folder of the images; what is below it is kept below `folder`.
    """

    def __init__(self, *, folder: str, image_root: str | None = None) -> None:
        self.folder = folder
        self.image_root = image_root

    def before_test_epoch(self, runner: Runner) -> None:
        """Take the names and colours of the classes from the dataset."""
        masks = mask_meta(runner.cfg)
        has_boxes = task_of(runner.cfg) != 'seg'
        self.painter = Painter(
            masks['classes'],
            masks['palette'],
            box_visualizer=box_visualizer(runner.cfg) if has_boxes else None,
        )

    def after_test_iter(
        self,
        runner: Runner,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        data_batch: dict | None = None,  # noqa: ARG002
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw one batch."""
        for sample in outputs:
            picture = self.painter.comparison(mmcv.imread(sample.img_path), sample)
            path = result_path(sample.img_path, self.image_root, self.folder, '.jpg')
            cv2.imwrite(str(path), picture)


def box_visualizer(cfg: Config) -> Visualizer:
    """Build mmdet's visualizer of a config, for the classes of its boxes."""
    visualizer = VISUALIZERS.build(dict(cfg.visualizer, name='painter', vis_backends=None))
    visualizer.dataset_meta = dataset_meta(cfg)
    return visualizer


def mask_labels(sample: BaseDataElement, key: str) -> np.ndarray | None:
    """Return the label of each pixel `(H, W)` uint8 of `pred_sem_seg` or `gt_sem_seg`."""
    if key not in sample:
        return None
    field = sample.get(key)
    labels = field.sem_seg if 'sem_seg' in field else field.data  # mmdet's name and mmseg's
    return labels.squeeze(0).cpu().numpy().astype(np.uint8)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette_rgb: Sequence[Sequence[int]]
) -> np.ndarray:
    """Lay the colours of the labels over an image; where a label has no colour, it stays bare.

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
    is_bare = (labels >= len(palette_rgb)).astype(np.uint8)
    return cv2.copyTo(image, is_bare, mixed)


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
    font = _font(size_hw)
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
    font = _font(size_hw)
    line = font.size * 3 // 2
    strip = Image.new('RGB', (width, line), 'white')
    for text, x in captions:
        ImageDraw.Draw(strip).text(
            (x + font.size // 2, line // 2), text, fill='black', font=font, anchor='lm'
        )
    return np.asarray(strip)[..., ::-1]


def _font(size_hw: tuple[int, int]) -> ImageFont.FreeTypeFont:
    import matplotlib  # comes with mmengine, and its font has the letters of most class names

    path = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(path, min(40, max(11, min(size_hw) // 28)))


def _text_width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(font.getlength(text)) + 1
