"""Runtimes for exported files with one interface: images in, named arrays out."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

import numpy as np

from ..common.messages import UserError
from .litert_runtime import is_ours
from .metadata import PREFIX, Metadata
from .runtime_files import broken, import_runtime

SUFFIXES = {
    'onnx': '.onnx',
    'openvino': '.xml',
    'torch-export': '.pt2',
    'executorch': '.pte',
    'ncnn': '.ncnn.param',  # pnnx's names; an OpenVINO file has a `.bin` too
    'coreml': '.mlpackage',
    'litert': '.tflite',
}
RUNTIMES = {
    'onnxruntime': ('.onnx',),
    'openvino': ('.onnx', '.xml'),
    'torch': ('.pt2',),
    'executorch': ('.pte',),
    'ncnn': ('.param',),
    'litert': ('.tflite',),
}
WEB_FILE, WEB_MODEL = '.html', 'model.onnx'  # a page, and what is in the folder of one
MODULES = {'litert': 'ai_edge_litert'}  # of the runtimes whose module has another name


class Runtime(Protocol):
    """A loaded file.

    Attributes:
        metadata: Metadata of the file.
    """

    metadata: Metadata

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return some of `metadata.output_names` for RGB `(N, H, W, 3)` of its input type."""


def is_exported(path: str) -> bool:
    """Check whether a file is an exported model, not a checkpoint.

    Its suffix says so; but a `.tflite` file of others is a checkpoint.
    """
    path = str(path).rstrip('/')
    if path.endswith(SUFFIXES['litert']):
        return is_ours(path)
    is_page = path.endswith(WEB_FILE) or osp.isfile(osp.join(path, WEB_MODEL))
    return is_page or path.endswith(tuple(SUFFIXES.values()))


def load_runtime(path: str, runtime: str | None = None, *, threads: int | None = None) -> Runtime:
    """Load an exported file.

    Args:
        path: A file that `tools/export.py` wrote.
        runtime: One of `RUNTIMES`; by default the first that runs such a file.
        threads: CPU threads; by default the runtime's own choice, and one for ncnn.

    Raises:
        UserError: If there is no such file, the runtime is not installed or does not run such a
            file, or the file is broken or not one of ours.
    """
    path = str(path).rstrip('/')
    if path.endswith(SUFFIXES['coreml']):
        raise UserError(
            f'{path} runs in an app on Apple devices; docs/deployment.md shows the code. '
            f'tools/test.py and tools/predict.py check it here; for Predictor, export the model to '
            f'another format, for example --to onnx'
        )
    if path.endswith(WEB_FILE) or osp.isdir(path):
        model = osp.join(path, WEB_MODEL)
        instead = f'give {model}' if osp.isfile(model) else 'export the model --to onnx'
        raise UserError(f'{path} predicts in a browser; to run the model here, {instead}')
    fitting = [name for name, suffixes in RUNTIMES.items() if path.endswith(suffixes)]
    if not fitting:
        raise UserError(
            f'{path} is not an exported model; expected a file ending in '
            f'{", ".join(SUFFIXES.values())}'
        )
    runtime = runtime or fitting[0]
    if runtime not in fitting:
        raise UserError(f'{runtime} does not run {path}; {" and ".join(fitting)} can')
    if not osp.isfile(path):
        raise UserError(f'no exported model at {path}; tools/export.py writes them')
    if runtime == 'onnxruntime':
        return OnnxRuntime(path, threads)
    if runtime == 'openvino':
        return OpenVino(path, threads)
    if runtime in ('torch', 'executorch'):
        import_runtime('torch')
    return import_module(f'.{runtime}_runtime', __package__).load(path, threads)


class OnnxRuntime:
    """A `.onnx` file under onnxruntime, on the CPU."""

    def __init__(self, path: str, threads: int | None) -> None:
        ort = import_runtime('onnxruntime')
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        except Exception as error:
            raise broken(path, error) from error
        stored = self._session.get_modelmeta().custom_metadata_map
        self.metadata = Metadata.from_strings(stored, path)

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Runtime`."""
        outputs = self._session.run(list(names), {'image': images})
        return dict(zip(names, outputs, strict=True))


class OpenVino:
    """An `.xml` file (its `.bin` next to it) or a `.onnx` file under OpenVINO, on the CPU."""

    def __init__(self, path: str, threads: int | None) -> None:
        ov = import_runtime('openvino')
        settings = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
        if threads:
            settings['INFERENCE_NUM_THREADS'] = threads
        core = ov.Core()
        try:
            model = core.read_model(path)
            self.metadata = Metadata.from_strings(_openvino_info(model, path), path)
            self._compiled = core.compile_model(model, 'CPU', settings)
        except UserError:
            raise
        except Exception as error:
            raise broken(path, error) from error
        self._request = self._compiled.create_infer_request()

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Runtime`."""
        self._request.infer({'image': images}, share_inputs=True)
        return {name: self._request.get_tensor(name).data.copy() for name in names}


def _openvino_info(model: object, path: str) -> Mapping[str, str]:
    for key in (PREFIX, 'framework') if path.endswith('.onnx') else (PREFIX,):
        if model.has_rt_info([key]):
            info = model.get_rt_info([key]).value
            return {name: getattr(value, 'value', value) for name, value in info.items()}
    return {}
