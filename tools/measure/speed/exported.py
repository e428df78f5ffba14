"""Our models under other runtimes on the CPU: the backbone alone, and predictors."""

from __future__ import annotations

import io
import logging
import os.path as osp
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from common import EXPORTED_RUNTIMES
from mmengine.config import Config
from torch import nn

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.predictor import Predictor
from mbv2_backbone.deploy.runtimes import SUFFIXES
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.formats import (
    FORMATS,
    check_format,
    check_metadata,
    writer_of,
)
from mbv2_backbone.workbench.export.geometry import read_geometry
from mbv2_backbone.workbench.export.graph import ExportGraph, describe
from mbv2_backbone.workbench.export.sample_images import placed

from .models import quiet
from .timing import Call

_OPSET = 18


def runtime_call(runtime: str, model: nn.Module, images: torch.Tensor, *, threads: int) -> Call:
    """Export a module through ONNX and return a call that runs it.

    Args:
        runtime: `onnxruntime` or `openvino`.
        model: Takes images; in eval mode.
        images: `(N, 3, H, W)`, what each call runs on.
        threads: CPU threads of the runtime.

    Raises:
        UserError: If onnx or the runtime is not installed.
    """
    try:
        data = _onnx_bytes(model, images)
        return _session(runtime, data, images.numpy(), threads)
    except ImportError as error:
        raise UserError(
            f'--runtimes {runtime} needs onnx, onnxscript and {runtime} ({error}): '
            f'pip install onnx onnxscript {runtime}'
        ) from error


def _onnx_bytes(model: nn.Module, images: torch.Tensor) -> bytes:
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            model, (images,), dynamo=True, verbose=False, opset_version=_OPSET, input_names=['x']
        )
    buffer = io.BytesIO()
    program.save(buffer)
    return buffer.getvalue()


def _session(runtime: str, data: bytes, images: object, threads: int) -> Call:
    if runtime == 'onnxruntime':
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
        return lambda: session.run(None, {'x': images})
    import openvino

    core = openvino.Core()
    settings = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_NUM_THREADS': threads,
        'INFERENCE_PRECISION_HINT': 'f32',
    }
    compiled = core.compile_model(core.read_model(data), 'CPU', settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([images], share_inputs=True)


def exported_predictors(
    cfg: Config,
    model: nn.Module,
    names: Sequence[str],
    images: Sequence[np.ndarray],
    *,
    batch_size: int,
    threads: int,
) -> dict[str, Predictor]:
    """Export a model as tools/export.py does, and load what came out.

    Args:
        cfg: The config of the model.
        model: The model, in eval mode.
        names: Of `EXPORTED_RUNTIMES`.
        images: `(H, W, 3)` uint8 RGB, to calibrate 8 bits on.
        batch_size: Images in a call; a file that takes one at a time runs so often.
        threads: CPU threads of the runtimes.

    Returns:
        A predictor for each name.

    Raises:
        UserError: If a package is not installed.
    """
    for _, to, kind in map(EXPORTED_RUNTIMES.get, names):
        check_format(to, int8=kind)
    geometry = read_geometry(cfg)
    graph = ExportGraph(model, geometry).eval()
    described = describe(graph, summarise(cfg), batch_size=batch_size, is_raw=False)
    calibration = [placed(image, geometry) for image in images]
    predictors, saved = {}, {}
    with quiet(), tempfile.TemporaryDirectory() as folder:
        for name in names:
            runtime, to, kind = EXPORTED_RUNTIMES[name]
            path = osp.join(folder, to + SUFFIXES[to])
            has_batch = FORMATS[to].has_dynamic_batch
            metadata = described if has_batch else replace(described, batch_size=1)
            check_metadata(to, metadata)
            if to not in saved:
                saved[to] = writer_of(to).save(graph, metadata, path)
            if kind:
                path = osp.join(folder, name + SUFFIXES[to])
                int8_metadata = replace(metadata, precision='int8')
                writer_of(to).save_int8(saved[to], int8_metadata, calibration, path, kind)
            predictors[name] = Predictor(path, runtime=runtime, threads=threads)
    return predictors
