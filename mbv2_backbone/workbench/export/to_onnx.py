"""Export to ONNX: the raw network from torch, with NMS and argmax added as ONNX nodes."""

from __future__ import annotations

import os.path as osp
import tempfile
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import torch
from onnx import ModelProto, helper

from ...deploy.metadata import Metadata
from .graph import ExportGraph
from .int8 import quantise_onnx
from .onnx_nms import num_final_boxes, suppression_nodes
from .saved import Saved, save_both
from .to_torch import example_inputs

OPSET = 20


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write a graph to an `.onnx` file."""
    return save_both(*export_both(graph, metadata), path, onnx.save)


def save_int8(
    saved: Saved, metadata: Metadata, images: Sequence[np.ndarray], path: str, _kind: str
) -> None:
    """Write an 8-bit file; see `int8.quantise_onnx`."""
    model = quantise_onnx(saved.model, images, metadata.batch_size or 1)
    set_metadata(model, metadata)
    onnx.save(model, path)


def export_both(graph: ExportGraph, metadata: Metadata) -> tuple[ModelProto, ModelProto]:
    """Return a graph with its raw outputs, and with those that `metadata` asks for."""
    raw = export_onnx(graph, replace(metadata, is_raw=True))
    return raw, raw if metadata.is_raw else with_final_outputs(raw, metadata)


def export_onnx(graph: ExportGraph, metadata: Metadata) -> ModelProto:
    """Export a graph with its raw outputs; `metadata.is_raw` must be true."""
    inputs, shapes = example_inputs(metadata)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path = osp.join(folder, 'model.onnx')
        torch.onnx.export(
            graph,
            inputs,
            path,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            external_data=False,
            input_names=['image'],
            output_names=list(metadata.output_names),
            dynamic_shapes=shapes,
        )
        model = onnx.load(path)
    _drop_notes(model)
    set_metadata(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def with_final_outputs(model: ModelProto, metadata: Metadata) -> ModelProto:
    """Return a copy of a model from `export_onnx` that outputs boxes, masks or probabilities.

    Args:
        model: The model with its raw outputs.
        metadata: Metadata of the result; `is_raw` is false.
    """
    model = deepcopy(model)
    raw_names = ('scores', 'boxes')  # the final outputs have these names
    for names in (names for node in model.graph.node for names in (node.input, node.output)):
        names[:] = [f'raw_{name}' if name in raw_names else name for name in names]
    _add_final_outputs(model, metadata)
    set_metadata(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def set_metadata(model: ModelProto, metadata: Metadata) -> None:
    """Write the metadata into a model; replaces any that it has."""
    del model.metadata_props[:]
    helper.set_model_props(model, metadata.to_strings())


def _drop_notes(model: ModelProto) -> None:
    """Drop the source lines that torch writes at each node; they contain paths of this machine."""
    model.doc_string = ''
    model.producer_name = 'mbv2_backbone'
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ''
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


def _add_final_outputs(model: ModelProto, metadata: Metadata) -> None:
    batch = metadata.batch_size or 'batch'
    outputs = []
    if metadata.detection:
        rules = metadata.detection
        _append(model, suppression_nodes(rules, metadata.input_size))
        limit = num_final_boxes(rules)
        outputs += [
            helper.make_tensor_value_info('boxes', onnx.TensorProto.FLOAT, [batch, limit, 4]),
            helper.make_tensor_value_info('scores', onnx.TensorProto.FLOAT, [batch, limit]),
            helper.make_tensor_value_info('labels', onnx.TensorProto.INT64, [batch, limit]),
        ]
    if metadata.segmentation:
        kind = 2 if len(metadata.segmentation.classes) <= 256 else 6  # uint8 or int32
        _append(
            model,
            f"""best = ArgMax<axis: int = 1, keepdims: int = 0>(logits)
            mask = Cast<to: int = {kind}>(best)""",
        )
        outputs.append(helper.make_tensor_value_info('mask', kind, [batch, *metadata.input_size]))
        outputs += [output for output in model.graph.output if output.name == 'logits']
    if metadata.classification:
        _append(model, 'probabilities = Softmax<axis: int = 1>(class_logits)')
        shape = [batch, len(metadata.classification.classes)]
        outputs.append(
            helper.make_tensor_value_info('probabilities', onnx.TensorProto.FLOAT, shape)
        )
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _append(model: ModelProto, nodes: str) -> None:
    """Append nodes given in ONNX's text form."""
    text = f'extra (float x) => (float x) {{\n{nodes}\n}}'
    for node in onnx.parser.parse_graph(text).node:
        node.name = f'final/{node.output[0]}'  # the quantiser excludes nodes by name
        model.graph.node.append(node)
