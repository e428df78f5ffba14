"""A `.pt2` file of `torch.export`, and what ExecuTorch's files share with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..common.messages import UserError
from .metadata import Metadata
from .pt2_check import check_program
from .runtime_files import METADATA_FILE, broken


class TorchRuntime:
    """A program that takes and returns tensors.

    Args:
        metadata: Metadata of the file.
        execute: Maps images `(N, H, W, 3)` to the file's outputs, in order.
    """

    def __init__(self, metadata: Metadata, execute: Callable) -> None:
        self.metadata = metadata
        self._execute = execute

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `runtimes.Runtime`."""
        with torch.inference_mode():
            outputs = self._execute(torch.from_numpy(np.ascontiguousarray(images)))
        found = dict(zip(self.metadata.output_names, outputs, strict=True))
        return {name: found[name].numpy() for name in names}


def load(path: str, threads: int | None) -> TorchRuntime:
    """Load a `.pt2` file.

    Raises:
        UserError: If it is broken, holds code, or is not one of ours.
    """
    if threads:
        torch.set_num_threads(threads)
    extra = {METADATA_FILE: ''}
    try:
        check_program(path)
        program = torch.export.load(path, extra_files=extra)
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from error
    metadata = Metadata.from_strings(json.loads(extra[METADATA_FILE] or '{}'), path)
    return TorchRuntime(metadata, program.module())
