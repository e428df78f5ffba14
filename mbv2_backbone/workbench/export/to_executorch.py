"""Export to ExecuTorch's format."""

from __future__ import annotations

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

from ...deploy.metadata import Metadata
from ...deploy.runtime_files import write_sidecar
from .graph import ExportGraph
from .saved import Saved
from .to_torch import export_program


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write a `.pte` file for XNNPACK with the raw outputs, and its metadata as `.json`."""
    lowered = to_edge_transform_and_lower(
        export_program(graph, metadata), partitioner=[XnnpackPartitioner()]
    )
    with open(path, 'wb') as file:
        lowered.to_executorch().write_to_file(file)
    write_sidecar(path, metadata)
    return Saved(path)
