"""`Predictor`: run an exported file and return boxes, masks or classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from ..common.messages import UserError
from .image import Placement, check_image, load_rgb, place
from .metadata import Metadata
from .nms import select_boxes
from .runtimes import Runtime, load_runtime

NUM_LIKELIEST = 5  # wherever predictions are data: here, in JSON files and on the pages


@dataclass(frozen=True)
class Prediction:
    """The prediction on one image; the arrays are empty if the file gives no boxes.

    Attributes:
        boxes: `(D, 4)` float32 xyxy in pixels of the image, by descending score.
        scores: `(D,)` float32 in [0, 1].
        labels: `(D,)` int64.
        names: The class of each box.
        mask: `(H, W)` of the image, the class of each pixel; `None` if the file gives no masks.
        size_hw: Height and width of the image in pixels.
        probabilities: `(C,)` float32, of each class of the whole image; `None` if the file gives
            none.
        likeliest: Name and probability of the five likeliest of these classes, the best first.

    Example:
        >>> supervision.Detections.from_inference(prediction)  # doctest: +SKIP
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    mask: np.ndarray | None
    size_hw: tuple[int, int]
    probabilities: np.ndarray | None = None
    likeliest: tuple[tuple[str, float], ...] = ()

    def json(self) -> dict:
        """Return what Roboflow's inference does: boxes with their centres in pixels, or classes.

        A joint model's boxes are the `predictions`, beside `top`, the likeliest class of the image,
        and its `confidence`.
        """
        height, width = self.size_hw
        found: dict = dict(image=dict(width=width, height=height))
        if self.likeliest:
            found |= dict(zip(('top', 'confidence'), self.likeliest[0], strict=True))
        if self.probabilities is not None and self.mask is None:
            best = zip(likeliest_of(self.probabilities), self.likeliest, strict=True)
            keys = ('class_id', 'class', 'confidence')
            rows = [dict(zip(keys, (label, *pair), strict=True)) for (label, _), pair in best]
            return dict(found, predictions=rows)
        left, top, right, bottom = self.boxes.astype(float).T
        columns = {
            'x': (left + right) / 2,
            'y': (top + bottom) / 2,
            'width': right - left,
            'height': bottom - top,
            'confidence': self.scores,
            'class_id': self.labels,
            'class': np.array(self.names),
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return dict(found, predictions=[dict(zip(columns, row, strict=True)) for row in rows])


def likeliest_of(probabilities: np.ndarray, count: int = NUM_LIKELIEST) -> list[tuple[int, float]]:
    """Return label and probability of the likeliest classes, the best first.

    Args:
        probabilities: `(C,)`, of each class.
        count: Of how many; fewer are returned if there are fewer classes.
    """
    best = np.argsort(-probabilities, kind='stable')[:count]
    return list(zip(best.tolist(), probabilities[best].tolist(), strict=True))


class Predictor:
    """An exported model, run with numpy, OpenCV (Pillow for a classifier) and its runtime alone.

    Args:
        path: A file that `tools/export.py` wrote. `.onnx` runs under onnxruntime or openvino,
            `.xml` under openvino, `.pt2` under torch, `.pte` under executorch, `.tflite` under
            litert, `.param` under ncnn.
        runtime: Which runtime; by default the first one named above.
        threads: CPU threads; by default the runtime's own choice.

    Attributes:
        metadata: Sizes, labels, palette and thresholds of the file.

    Raises:
        UserError: If the file or its runtime is missing, or the file is not one of ours.

    Example:
        >>> predictor = Predictor('ssdlite.onnx')  # doctest: +SKIP
        >>> predictor('street.jpg').boxes  # doctest: +SKIP
    """

    def __init__(
        self, path: str | PathLike, *, runtime: str | None = None, threads: int | None = None
    ) -> None:
        self._run = load_runtime(str(path), runtime, threads=threads)
        self.metadata: Metadata = self._run.metadata

    @classmethod
    def of(cls, runtime: Runtime) -> Predictor:
        """Return a predictor on a file that is already loaded."""
        self = cls.__new__(cls)
        self._run, self.metadata = runtime, runtime.metadata
        return self

    def __call__(self, image: str | PathLike | np.ndarray) -> Prediction:
        """Predict on one image.

        Args:
            image: A path, or `(H, W, 3)` uint8 RGB of any size.

        Raises:
            UserError: If it cannot be read as an image, or is an array of another shape or type.
        """
        return self.predict([image])[0]

    def predict(self, images: Sequence[str | PathLike | np.ndarray]) -> list[Prediction]:
        """Predict on several images, in one call of the network where the file allows it."""
        arrays = [
            check_image(load_rgb(image) if isinstance(image, (str, PathLike)) else image)
            for image in images
        ]
        return self.predict_placed([place(array, self.metadata) for array in arrays])

    def predict_placed(self, placed: Sequence[tuple[np.ndarray, Placement]]) -> list[Prediction]:
        """Predict on images that already have the file's input size.

        Args:
            placed: Results of `image.place`.
        """
        step = self.metadata.batch_size or max(1, len(placed))
        results: list[Prediction] = []
        for start in range(0, len(placed), step):
            batch = placed[start : start + step]
            inputs = np.stack([array for array, _ in batch])
            # For a file with a fixed batch size, the last batch is padded.
            missing = (self.metadata.batch_size or 0) - len(inputs)
            if missing > 0:
                inputs = np.concatenate([inputs, np.repeat(inputs[-1:], missing, 0)])
            places = [where for _, where in batch]
            outputs = self._run(inputs, self._needed_outputs(places))
            results += [self._result(outputs, i, where) for i, where in enumerate(places)]
        return results

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network alone.

        Args:
            images: `(N, H, W, 3)` RGB, 0 to 255, of the file's own input size, type and batch size.

        Returns:
            The file's outputs, by name (`metadata.output_names`).

        Raises:
            UserError: If the images have another shape or type.
        """
        batch, size = self.metadata.batch_size, self.metadata.input_size
        expected = (batch or len(images), *size, 3)
        if images.dtype != self.metadata.input_type or images.shape != expected:
            raise UserError(
                f'expected {self.metadata.input_type} images of shape '
                f'{("N" if batch is None else batch, *size, 3)}, '
                f'got {images.dtype} {images.shape}; calling the predictor resizes any image'
            )
        return self._run(images, self.metadata.output_names)

    def _needed_outputs(self, places: Sequence[Placement]) -> tuple[str, ...]:
        """Skip the logits, which are large, if the mask already has the right size."""
        names = self.metadata.output_names
        if 'mask' in names and not any(where.is_resized for where in places):
            return tuple(name for name in names if name != 'logits')
        return names

    def _result(self, outputs: dict[str, np.ndarray], i: int, where: Placement) -> Prediction:
        boxes = np.zeros((0, 4), np.float32)
        scores, labels, names, mask = boxes[:, 0], np.zeros(0, np.int64), (), None
        if self.metadata.detection:
            rules = self.metadata.detection
            if self.metadata.is_raw:
                boxes, scores, labels = select_boxes(
                    outputs['scores'][i], outputs['boxes'][i], rules, where.placed_size
                )
            else:
                found = outputs['labels'][i] >= 0
                boxes, scores = outputs['boxes'][i][found], outputs['scores'][i][found]
                labels = outputs['labels'][i][found].astype(np.int64)
            boxes = where.boxes_back(boxes)
            names = tuple(rules.classes[label] for label in labels)
        if self.metadata.segmentation:
            logits = outputs['logits'][i] if 'logits' in outputs else None
            mask = logits.argmax(0) if self.metadata.is_raw else outputs['mask'][i]
            mask = where.mask_back(
                mask, logits, align_corners=self.metadata.segmentation.align_corners
            )
            few = len(self.metadata.segmentation.classes) <= 256
            mask = mask.astype(np.uint8 if few else np.int32)
        found = Prediction(boxes, scores, labels, names, mask, tuple(where.original_size))
        return self._with_classes(found, outputs, i) if self.metadata.classification else found

    def _with_classes(
        self, found: Prediction, outputs: dict[str, np.ndarray], i: int
    ) -> Prediction:
        if self.metadata.is_raw:
            logits = outputs['class_logits'][i]
            powers = np.exp(logits - logits.max())
            probabilities = powers / powers.sum()
        else:
            probabilities = outputs['probabilities'][i]
        names = self.metadata.classification.classes
        best = tuple((names[k], score) for k, score in likeliest_of(probabilities))
        return replace(found, probabilities=probabilities, likeliest=best)
