"""Export to ncnn's format, with pnnx; final boxes are added as ncnn layers."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import ncnn
import numpy as np
import pnnx
import torch
from torch import Tensor, nn

from ...common.messages import UserError
from ...deploy.metadata import Metadata
from ...deploy.runtime_files import write_sidecar
from .graph import HEAD_NAMES, ExportGraph
from .ncnn_layers import Layer, NcnnModel, check_layers, with_splits
from .ncnn_nms import check_rules, suppression_layers
from .saved import Saved, check_path


def check_metadata(metadata: Metadata) -> None:
    """Refuse what a file cannot do; see `ncnn_nms.check_rules`."""
    if metadata.detection and not metadata.is_raw:
        check_rules(metadata.detection)


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write a graph to a `.param`, a `.bin` and a `.json` file.

    The network takes the image as ncnn's `Mat::from_pixels` gives it, `(3, H, W)` RGB, 0 to 255;
    it normalises it. Its blobs are named: `image`; raw `scores`, `boxes`, `logits` and
    `class_logits`; final `detections` (see `ncnn_nms`), `logits`, whose best class is the mask, and
    `probabilities`.

    Raises:
        UserError: If pnnx does not convert the graph, or ncnn lacks an operation of it.
    """
    raw_metadata = replace(metadata, is_raw=True)
    raw = convert(PlanarGraph(graph), raw_metadata)
    if metadata.is_raw:
        write(raw, metadata, path)
        return Saved(path, raw)
    final = raw
    if metadata.detection:
        added = suppression_layers(metadata.detection, metadata.input_size)
        layers = with_splits([*raw.layers, *added.layers])
        final = NcnnModel(tuple(layers), raw.weights + added.weights)
    if metadata.classification:
        softmax = Layer(
            'Softmax', 'softmax', ('class_logits',), ('probabilities',), {0: '0', 1: '1'}
        )
        final = NcnnModel((*final.layers, softmax), final.weights)
    write(final, metadata, path)
    write(raw, raw_metadata, check_path(path))
    return Saved(check_path(path), final)


def save_int8(
    saved: Saved, metadata: Metadata, images: Sequence[np.ndarray], path: str, _kind: str
) -> None:
    """Write an 8-bit file; see `ncnn_int8.quantise`."""
    from .ncnn_int8 import quantise

    write(quantise(saved.model, images), metadata, path)


def write(model: NcnnModel, metadata: Metadata, path: str) -> None:
    """Write a model and its metadata."""
    Path(path).write_text(model.to_text(), encoding='utf-8')
    Path(path).with_suffix('.bin').write_bytes(model.weights)
    write_sidecar(path, metadata)


class PlanarGraph(nn.Module):
    """A graph whose image is `(1, 3, H, W)` RGB, 0 to 255, as ncnn holds images.

    It is a copy without a second name for the heads: pnnx leaves the operations of a module with
    two names unconverted.
    """

    def __init__(self, graph: ExportGraph) -> None:
        super().__init__()
        self.graph = deepcopy(graph)
        for name in HEAD_NAMES:
            if hasattr(self.graph.model, name):
                delattr(self.graph.model, name)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See `ExportGraph.forward`."""
        return self.graph.raw_outputs(self.graph.preprocess.from_planes(image))


def convert(graph: nn.Module, metadata: Metadata) -> NcnnModel:
    """Convert a graph with raw outputs; weights stay float32."""
    size = (1, 3, *metadata.input_size)
    with tempfile.TemporaryDirectory() as folder:
        with torch.no_grad():
            traced = torch.jit.trace(graph.eval(), torch.zeros(size), check_trace=False)
        traced.save(f'{folder}/model.pt')
        shape = ','.join(map(str, size))
        done = subprocess.run(
            [pnnx.EXEC_PATH, 'model.pt', f'inputshape=[{shape}]f32', 'fp16=0'],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        param = Path(folder, 'model.ncnn.param')
        if done.returncode or not param.is_file():
            lines = (done.stderr + done.stdout).strip().splitlines() or ['no message']
            raise UserError(f'pnnx did not convert the model (exit {done.returncode}): {lines[-1]}')
        model = NcnnModel.from_text(param.read_text(), param.with_suffix('.bin').read_bytes())
    check_layers(model.layers, lambda kind: ncnn.layer_to_index(kind) >= 0)
    names = {f'out{i}': name for i, name in enumerate(metadata.output_names)} | {'in0': 'image'}
    return NcnnModel(tuple(layer.renamed(names) for layer in model.layers), model.weights)
