"""A torch module under onnxruntime or OpenVINO, on the CPU, for the backbone alone."""

from __future__ import annotations

import io
import logging
import warnings

import torch
from torch import nn

from ..errors import UserError
from .models import quiet
from .timing import Call

RUNTIMES = ('onnxruntime', 'openvino')
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
