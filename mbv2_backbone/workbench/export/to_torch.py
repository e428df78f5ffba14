"""Export to the formats that keep torch's operators: torch.export's and ExecuTorch's."""

from __future__ import annotations

import json

import torch

from ...deploy.metadata import Metadata
from ...deploy.runtimes import METADATA_FILE, sidecar
from .graph import ExportGraph


def example_inputs(metadata: Metadata) -> tuple[tuple[torch.Tensor], dict | None]:
    """Return inputs to trace a graph with, and which of their sizes are dynamic."""
    shape = metadata.batch_size or 2, *metadata.input_size, 3
    example = torch.zeros(shape, dtype=getattr(torch, metadata.input_type))
    return (example,), None if metadata.batch_size else {'image': {0: torch.export.Dim('batch')}}


def _program(graph: ExportGraph, metadata: Metadata) -> torch.export.ExportedProgram:
    inputs, shapes = example_inputs(metadata)
    return torch.export.export(graph.eval(), inputs, dynamic_shapes=shapes)


def save_torch_export(graph: ExportGraph, metadata: Metadata, path: str) -> None:
    """Write a `.pt2` file with the raw outputs and the metadata in it."""
    extra = {METADATA_FILE: json.dumps(metadata.to_strings())}
    torch.export.save(_program(graph, metadata), path, extra_files=extra)


def save_executorch(graph: ExportGraph, metadata: Metadata, path: str) -> None:
    """Write a `.pte` file for XNNPACK with the raw outputs, and its metadata as `.json`."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(
        _program(graph, metadata), partitioner=[XnnpackPartitioner()]
    )
    with open(path, 'wb') as file:
        lowered.to_executorch().write_to_file(file)
    with open(sidecar(path), 'w', encoding='utf-8') as file:
        json.dump(metadata.to_strings(), file, indent=1)
