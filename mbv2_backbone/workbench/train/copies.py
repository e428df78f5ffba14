"""Copies of batches to a GPU, which go on beside the step before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from types import MethodType, ModuleType
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..configs.machine import Machine


def overlap_copies(model: nn.Module, machine: Machine) -> None:
    """Let a GPU copy and normalise a batch while it still computes the step before.

    The loaders put batches into pinned memory, and the host is a step ahead of the GPU.
    """
    if machine.device == 'cuda' and hasattr(model, 'data_preprocessor'):
        preprocessor = model.data_preprocessor
        # mmengine's argument, which mmseg's class does not pass on.
        preprocessor._non_blocking = True
        forward = on_own_stream(type(preprocessor).forward, torch.cuda)
        preprocessor.forward = MethodType(forward, preprocessor)  # a copy's is bound to the copy


def on_own_stream(prepare: Callable, streams: ModuleType) -> Callable:
    """Let a method that copies data to the GPU work on a stream of its own.

    What comes after it on the current stream waits for it; it waits for nothing there. Data that is
    on the GPU already may still be computed on the current stream, and stays there.

    Args:
        prepare: The method; its first argument after `self` is the data.
        streams: `torch.cuda`.
    """
    own = streams.Stream()

    @wraps(prepare)
    def call(self: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        if any(tensor.is_cuda for tensor in tensors_of(data)):
            return prepare(self, data, *args, **kwargs)
        with streams.stream(own):
            batch = prepare(self, data, *args, **kwargs)
        current = streams.current_stream()
        current.wait_stream(own)
        for tensor in tensors_of(batch):
            tensor.record_stream(current)  # its memory is not used again before the step has ended
        return batch

    return call


def tensors_of(data: Any) -> Iterator[Tensor]:
    """Yield all tensors of a batch: of containers, samples, and boxes of mmdet."""
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, (BaseDataElement, Mapping)):
        for value in data.values():
            yield from tensors_of(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from tensors_of(value)
    elif hasattr(data, 'tensor'):
        yield data.tensor
