"""Export to the formats that keep torch's operators: torch.export's and ExecuTorch's."""

from __future__ import annotations

import json

import torch

from ...common.messages import UserError
from ...deploy.metadata import Metadata
from ...deploy.runtimes import METADATA_FILE, sidecar
from .graph import ExportGraph


def _program(graph: ExportGraph, metadata: Metadata) -> torch.export.ExportedProgram:
    batch = metadata.batch_size or 2
    example = torch.zeros(batch, *metadata.input_size, 3, dtype=torch.uint8)
    shapes = None if metadata.batch_size else {'image': {0: torch.export.Dim('batch')}}
    return torch.export.export(graph.eval(), (example,), dynamic_shapes=shapes)


def save_torch_export(graph: ExportGraph, metadata: Metadata, path: str) -> None:
    """Write a `.pt2` file with the raw outputs, the metadata inside it."""
    extra = {METADATA_FILE: json.dumps(metadata.to_strings())}
    torch.export.save(_program(graph, metadata), path, extra_files=extra)


def save_executorch(graph: ExportGraph, metadata: Metadata, path: str) -> None:
    """Write a `.pte` file for XNNPACK with the raw outputs, the metadata in a `.json` beside it.

    Raises:
        UserError: If executorch is not installed.
    """
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise UserError(
            f'--to executorch needs executorch, which cannot be imported ({error}): '
            f'pip install executorch'
        ) from error
    lowered = to_edge_transform_and_lower(
        _program(graph, metadata), partitioner=[XnnpackPartitioner()]
    )
    with open(path, 'wb') as file:
        lowered.to_executorch().write_to_file(file)
    with open(sidecar(path), 'w', encoding='utf-8') as file:
        json.dump(metadata.to_strings(), file, indent=1)
