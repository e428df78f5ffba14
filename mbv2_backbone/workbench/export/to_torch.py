"""Export to torch.export's own format."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

from ...deploy.metadata import Metadata
from ...deploy.runtime_files import METADATA_FILE
from .graph import ExportGraph
from .saved import Saved


def example_inputs(metadata: Metadata) -> tuple[tuple[torch.Tensor], dict | None]:
    """Return inputs to trace a graph with, and which of their sizes are dynamic."""
    shape = metadata.batch_size or 2, *metadata.input_size, 3
    example = torch.zeros(shape, dtype=getattr(torch, metadata.input_type))
    return (example,), None if metadata.batch_size else {'image': {0: torch.export.Dim('batch')}}


def export_program(graph: ExportGraph, metadata: Metadata) -> torch.export.ExportedProgram:
    """Trace a graph."""
    inputs, shapes = example_inputs(metadata)
    return torch.export.export(graph.eval(), inputs, dynamic_shapes=shapes)


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write a `.pt2` file with the raw outputs and the metadata in it."""
    extra, data = {METADATA_FILE: json.dumps(metadata.to_strings())}, io.BytesIO()
    # Given a path, torch ends the whole process where the disk is full.
    torch.export.save(export_program(graph, metadata), data, extra_files=extra)
    Path(path).write_bytes(data.getvalue())
    return Saved(path)
