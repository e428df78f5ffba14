"""A `.param` file under ncnn; weights in a `.bin`, metadata in a `.json` beside it."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .metadata import Metadata
from .runtime_files import broken, import_runtime, read_sidecar


class NcnnRuntime:
    """A network that takes one image at a time.

    Args:
        ncnn: The package.
        net: The loaded network.
        metadata: Metadata of the file.
    """

    def __init__(self, ncnn: ModuleType, net: Any, metadata: Metadata) -> None:
        self._ncnn = ncnn
        self._net = net
        self.metadata = metadata

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `runtimes.Runtime`; the images are `(1, H, W, 3)`."""
        image = planes(images[0])  # ncnn reads it in place
        extractor = self._net.create_extractor()
        extractor.input('image', self._ncnn.Mat(image))
        found: dict[str, np.ndarray] = {}
        if {'logits', 'mask'} & set(names):
            found['logits'] = self._extract(extractor, 'logits')
        if 'mask' in names:
            found['mask'] = found['logits'].argmax(0)
        if self.metadata.is_raw:
            rest = [name for name in names if name not in found]
            found |= {name: self._extract(extractor, name) for name in rest}
            return {name: found[name][None] for name in names}
        if self.metadata.classification:
            found['probabilities'] = self._extract(extractor, 'probabilities')
        if self.metadata.detection:
            rows = self._extract(extractor, 'detections').reshape(-1, 6)
            found['labels'] = rows[:, 0].astype(np.int64) - 1
            found |= {'scores': rows[:, 1], 'boxes': rows[:, 2:]}
        return {name: found[name][None] for name in names}

    @staticmethod
    def _extract(extractor: Any, name: str) -> np.ndarray:
        status, value = extractor.extract(name)
        if status:
            raise RuntimeError(f'ncnn could not compute {name} (status {status})')
        return np.zeros(0, np.float32) if value.empty() else np.array(value)


def planes(image: np.ndarray) -> np.ndarray:
    """Return an image `(H, W, 3)` as ncnn holds it: `(3, H, W)` float32, 0 to 255."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)


def load(path: str, threads: int | None) -> NcnnRuntime:
    """Load a `.param` file.

    Raises:
        UserError: If ncnn is not installed, or a file is missing, broken or not one of ours.
    """
    ncnn = import_runtime('ncnn')
    metadata = read_sidecar(path)
    try:
        net = open_net(ncnn, path, threads or 1)  # several wait for each other on a busy machine
    except (OSError, ValueError) as error:
        raise broken(path, error) from error
    return NcnnRuntime(ncnn, net, metadata)


def open_net(ncnn: ModuleType, path: str, threads: int) -> Any:
    """Load a `.param` file and its weights as ncnn's `Net` that computes in float32, on the CPU.

    Raises:
        ValueError: If ncnn does not read one of them.
        OSError: If the layers cannot be read.
    """
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    for kind in ('fp16_packed', 'fp16_storage', 'fp16_arithmetic', 'bf16_storage'):
        setattr(net.opt, f'use_{kind}', False)
    net.opt.num_threads = threads
    # ncnn reads a last line that is cut off without an error.
    if not Path(path).read_text(encoding='utf-8').endswith('\n') or net.load_param(path):
        raise ValueError('ncnn does not read its layers')
    weights = osp.splitext(path)[0] + '.bin'
    if not osp.isfile(weights) or net.load_model(weights):
        raise ValueError(f'ncnn does not read the weights in {weights}')
    return net
