"""A `.tflite` file under LiteRT; its metadata is in a zip archive at its end."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

import numpy as np

from ..common.messages import UserError
from .metadata import Metadata
from .runtime_files import METADATA_FILE, broken, import_runtime

CODING_FILE = 'coding.npz'  # beside the metadata, in files that leave the decoding to the reader


def is_ours(path: str) -> bool:
    """Check whether a `.tflite` file is an exported model, not one that only holds weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            return METADATA_FILE in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def load(path: str, threads: int | None) -> LiteRT:
    """Load a `.tflite` file.

    Raises:
        UserError: If the runtime is not installed, or the file is broken or not one of ours.
    """
    module = import_runtime('ai_edge_litert.interpreter', 'ai-edge-litert')
    try:
        with zipfile.ZipFile(path) as archive:
            strings = json.loads(archive.read(METADATA_FILE))
            coding = None
            if CODING_FILE in archive.namelist():
                with np.load(io.BytesIO(archive.read(CODING_FILE))) as arrays:
                    coding = dict(arrays)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f'{path} has no valid metadata ({error}); only files that tools/export.py wrote can be '
            f'run here'
        ) from error
    metadata = Metadata.from_strings(strings, path)
    try:
        interpreter = module.Interpreter(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        return LiteRT(metadata, interpreter, coding)
    except Exception as error:
        raise broken(path, error) from error


class LiteRT:
    """A loaded `.tflite` file; see `runtimes.Runtime`.

    Args:
        metadata: Metadata of the file.
        interpreter: LiteRT's interpreter, its tensors allocated.
        coding: Of a file that gives the codes of boxes instead of boxes: the `priors` `(P, 4)`
            xyxy in pixels of the input, `means` and `stds` of the codes `(4,)`, and
            `max_log_ratio`.
    """

    def __init__(
        self, metadata: Metadata, interpreter: object, coding: dict[str, np.ndarray] | None
    ) -> None:
        self.metadata = metadata
        self._interpreter = interpreter
        self._coding = coding
        runner = interpreter.get_signature_runner()
        self._input = runner.get_input_details()['image']
        self._outputs = runner.get_output_details()

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `runtimes.Runtime`."""
        self._interpreter.set_tensor(self._input['index'], _quantised(images, self._input))
        self._interpreter.invoke()
        return {name: self._output(name) for name in names}

    def _output(self, name: str) -> np.ndarray:
        if name == 'logits':
            return self._tensor(name).transpose(0, 3, 1, 2)
        if name == 'labels':
            labels = self._tensor(name).astype(np.int64)
            return np.where(np.arange(labels.shape[1]) < self._tensor('count'), labels, -1)
        if name == 'boxes' and self._coding:
            return self._decoded(self._tensor('codes'))
        if name == 'boxes' and not self.metadata.is_raw:
            height, width = self.metadata.input_size
            top_left_first = self._tensor(name)[..., [1, 0, 3, 2]]
            return top_left_first * np.array([width, height, width, height], np.float32)
        return self._tensor(name)

    def _tensor(self, name: str) -> np.ndarray:
        detail = self._outputs[name]
        value = self._interpreter.get_tensor(detail['index'])
        scale, zero_point = detail['quantization']
        return (value.astype(np.float32) - zero_point) * np.float32(scale) if scale else value

    def _decoded(self, codes: np.ndarray) -> np.ndarray:
        """Decode boxes `(1, P, 4)`, as `det.targets.decode` does in torch."""
        priors, most = self._coding['priors'], self._coding['max_log_ratio']
        codes = codes * self._coding['stds'] + self._coding['means']
        size = priors[:, 2:] - priors[:, :2]
        centre = (priors[:, :2] + priors[:, 2:]) / 2 + size * codes[..., :2]
        half = size * np.exp(codes[..., 2:].clip(-most, most)) / 2
        boxes = np.concatenate([centre - half, centre + half], -1).astype(np.float32)
        if self.metadata.detection.clip_after_nms:
            return boxes
        height, width = self.metadata.input_size
        return boxes.clip(0, np.array([width, height, width, height], np.float32))


def _quantised(images: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero_point = detail['quantization']
    if not scale:
        return images
    limits = np.iinfo(detail['dtype'])
    levels = np.round(images / np.float32(scale)) + zero_point
    return levels.clip(limits.min, limits.max).astype(detail['dtype'])
