"""Outputs of a prediction run: drawn images, masks, videos and `predictions.json`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from ...annotations.images import read_image, read_reduced
from ...annotations.masks import write_palette_png
from ...common.messages import UserError
from ...common.notebook import Output, in_notebook
from ...common.progress import track
from ..configs.machine import cpu_count
from ..drawing.painter import mask_labels
from ..drawing.pixels import tiled
from .background import mapped
from .coco_rows import RowFile
from .inputs import Source
from .video import ClipWriter, Video

if TYPE_CHECKING:
    from .features.inspector import FeatureInspector
    from .file_predictor import FilePredictor

SHOWN = 6  # drawings below the cell of a notebook
_READERS = 8  # threads at most; each keeps an image in memory


@dataclass
class Summary:
    """The results of a prediction run.

    Attributes:
        predictions: Path of `predictions.json`.
        num_images: Images and video frames predicted on.
        num_predictions: Rows in `predictions.json`.
        unreadable: Files that could not be read.
        video_fps: Frames per second reached, by video.
        notes: Anything else a user should know about the videos.
        is_drawn: Whether drawings were written, too.
    """

    predictions: str
    num_images: int = 0
    num_predictions: int = 0
    unreadable: list[str] = field(default_factory=list)
    video_fps: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_drawn: bool = True

    def __repr__(self) -> str:
        return '\n'.join(
            [
                *(f'skipped, cannot be read: {path}' for path in self.unreadable),
                *self.notes,
                *(f'{path}: {fps:.1f} frames/s' for path, fps in self.video_fps.items()),
                f'{self.num_predictions} predictions on {self.num_images} images in '
                f'{self.predictions}{", drawn images in the same folder" * self.is_drawn}',
            ]
        )


@dataclass(kw_only=True)
class PredictionRun:
    """One call of `predict`: what it writes, and its progress.

    Attributes:
        predictor: Model that predicts on the images.
        out: Output folder.
        rows: File for the rows of the predictions.
        batch_size: Images per batch.
        draw: Whether to write drawings.
        inspector: Inspects the backbone's feature maps of each image; `None` to skip that.
        reduced: Decode JPEG files at a fraction of their size where that is enough; see
            `read_reduced`. For boxes that are not drawn.
    """

    predictor: FilePredictor
    out: Path
    rows: RowFile
    batch_size: int
    draw: bool
    inspector: FeatureInspector | None
    reduced: bool = False

    def __post_init__(self) -> None:
        self.summary = Summary(str(self.rows.path), is_drawn=self.draw)
        self._drawn: list[str] = []

    def predict_stills(self, sources: Sequence[Source], ids: dict[str, int]) -> None:
        """Predict on images and write the outputs of each."""
        found = self.predictor.stream(self._read(sources), self.batch_size)
        done = track(found, 'Predicting', total=len(sources), unit='images')
        for (source, whole_wh), image, sample in done:
            self.summary.num_images += 1
            if self.reduced:
                boxes = sample.pred_instances.bboxes
                scale = boxes.new_tensor(np.divide(whole_wh, image.shape[1::-1]))
                sample.pred_instances.bboxes = boxes * scale.repeat(2)
            self.rows.add(self.predictor.rows(sample, ids[source.path], source.path))
            self._write(source.name, image, sample)

    def _read(
        self, sources: Sequence[Source]
    ) -> Iterator[tuple[tuple[Source, tuple[int, int]], np.ndarray]]:
        for source, read in mapped(self._read_one, sources, threads=min(cpu_count(), _READERS)):
            if read is None:
                self.summary.unreadable.append(source.path)
            else:
                image, whole_wh = read
                yield (source, whole_wh), image

    def _read_one(self, source: Source) -> tuple[Source, tuple[np.ndarray, tuple[int, int]] | None]:
        """Read an image; return it with the size of the whole image."""
        if self.reduced:
            return source, read_reduced(source.path, self.predictor.input_wh)
        image = read_image(source.path)
        return source, None if image is None else (image, image.shape[1::-1])

    def _write(self, name: str, image: np.ndarray, sample: BaseDataElement) -> None:
        painter = self.predictor.painter
        if self.draw:
            self._drawn.append(self._path(f'{name}.jpg'))
            cv2.imwrite(self._drawn[-1], painter.prediction(image, sample))
        labels = mask_labels(sample, 'pred_sem_seg')
        if labels is not None:
            write_palette_png(Path(self._path(f'masks/{name}.png')), labels, painter.masks.palette)
        if self.inspector is not None:
            from .features.figures import write_activations

            stem = self._path(name)
            write_activations(self.inspector(image), image, sample, painter, stem)

    def _path(self, name: str) -> str:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def predict_video(self, source: Source, first_id: int) -> int:
        """Predict on the frames of a video and write its clip; return their number."""
        try:
            video = Video(source.path)
        except UserError:
            self.summary.unreadable.append(source.path)
            return 0
        begin = time.perf_counter()
        clip = None
        try:
            found = self.predictor.stream(video, self.batch_size)
            what, total = f'Predicting {source.name}', video.num_frames or None
            frames = track(found, what, total=total, unit='frames')
            for i, (seconds, frame, sample) in enumerate(frames):
                rows = self.predictor.rows(sample, first_id + i, source.path)
                self.rows.add(row | dict(frame=i) for row in rows)
                if self.draw:
                    drawing = self.predictor.painter.prediction(frame, sample, whole_legend=True)
                    if clip is None:
                        path = self._path(f'{source.name}.mp4')
                        clip = ClipWriter(path, fps=video.fps, size_hw=drawing.shape[:2])
                    clip.write(drawing, seconds)
        finally:  # a clip, even an incomplete one, is playable only after closing
            if clip is not None:
                clip.close()
        self.summary.num_images += video.count
        self.summary.notes += [f'{source.path} {note}' for note in video.notes()]
        if video.count:
            self.summary.video_fps[source.path] = video.count / (time.perf_counter() - begin)
        else:
            self.summary.unreadable.append(source.path)
        return video.count

    def finish(self) -> Summary:
        """Return the summary of the run; in a notebook, show the first drawings.

        Raises:
            UserError: If no input could be read.
        """
        summary = self.summary
        if not summary.num_images:
            unreadable = ', '.join(summary.unreadable[:5])
            raise UserError(f'none of the inputs could be read: {unreadable}')
        summary.num_predictions = self.rows.count
        if self._drawn and in_notebook():
            sheet = tiled([cv2.imread(path) for path in self._drawn[:SHOWN]], side=320, columns=3)
            Output().show_picture(cv2.imencode('.jpg', sheet)[1].tobytes())
        return summary
