"""Runtimes for exported files with one interface: images in, named arrays out."""

from __future__ import annotations

import json
import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Protocol

import numpy as np

from ..common.messages import UserError, first_line
from .metadata import PREFIX, Metadata

SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'torch-export': '.pt2', 'executorch': '.pte'}
RUNTIMES = {
    'onnxruntime': ('.onnx',),
    'openvino': ('.onnx', '.xml'),
    'torch': ('.pt2',),
    'executorch': ('.pte',),
}
METADATA_FILE = 'metadata.json'


class Runtime(Protocol):
    """A loaded file.

    Attributes:
        metadata: Metadata of the file.
    """

    metadata: Metadata

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return some of `metadata.output_names` for RGB `(N, H, W, 3)` of its input type."""


def is_exported(path: str) -> bool:
    """Check by its suffix whether a file is an exported model, not a checkpoint."""
    return str(path).endswith(tuple(SUFFIXES.values()))


def sidecar(path: str) -> str:
    """Return the path of the metadata of a `.pte` file, which cannot hold it itself."""
    return osp.splitext(path)[0] + '.json'


def load_runtime(path: str, runtime: str | None = None, *, threads: int | None = None) -> Runtime:
    """Load an exported file.

    Args:
        path: A file that `tools/export.py` wrote.
        runtime: One of `RUNTIMES`; by default the first that runs such a file.
        threads: CPU threads; by default the runtime's own choice.

    Raises:
        UserError: If there is no such file, the runtime is not installed or does not run such a
            file, or the file is broken or not one of ours.
    """
    path = str(path)
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
    kinds = dict(
        onnxruntime=OnnxRuntime, openvino=OpenVino, torch=TorchProgram, executorch=ExecuTorch
    )
    return kinds[runtime](path, threads)


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.split('.')[0]
        raise UserError(
            f'this file needs {package}, which cannot be imported ({error}): pip install {package}'
        ) from error


def _broken(path: str, error: Exception) -> UserError:
    return UserError(
        f'{path} cannot be loaded; is it complete? {type(error).__name__}: '
        f'{first_line(error)[:300]}'
    )


class OnnxRuntime:
    """A `.onnx` file under onnxruntime, on the CPU."""

    def __init__(self, path: str, threads: int | None) -> None:
        ort = _import('onnxruntime')
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        except Exception as error:
            raise _broken(path, error) from error
        stored = self._session.get_modelmeta().custom_metadata_map
        self.metadata = Metadata.from_strings(stored, path)

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Runtime`."""
        outputs = self._session.run(list(names), {'image': images})
        return dict(zip(names, outputs, strict=True))


class OpenVino:
    """An `.xml` file (its `.bin` next to it) or a `.onnx` file under OpenVINO, on the CPU."""

    def __init__(self, path: str, threads: int | None) -> None:
        ov = _import('openvino')
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
            raise _broken(path, error) from error
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


class _TorchRuntime:
    """What the runtimes of torch's own formats share: tensors in, tensors out."""

    metadata: Metadata
    _execute: Callable

    def __call__(self, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode():
            outputs = self._execute(torch.from_numpy(np.ascontiguousarray(images)))
        found = dict(zip(self.metadata.output_names, outputs, strict=True))
        return {name: found[name].numpy() for name in names}


class TorchProgram(_TorchRuntime):
    """A `.pt2` file of `torch.export`."""

    def __init__(self, path: str, threads: int | None) -> None:
        torch = _import('torch')
        if threads:
            torch.set_num_threads(threads)
        from .pt2_check import check_program  # it needs torch, other runtimes do not

        extra = {METADATA_FILE: ''}
        try:
            check_program(path)
            program = torch.export.load(path, extra_files=extra)
        except UserError:
            raise
        except Exception as error:
            raise _broken(path, error) from error
        text = extra[METADATA_FILE] or '{}'
        self.metadata = Metadata.from_strings(json.loads(text), path)
        self._execute = program.module()


class ExecuTorch(_TorchRuntime):
    """A `.pte` file under ExecuTorch's runtime; its metadata is in a `.json` file next to it."""

    def __init__(self, path: str, threads: int | None) -> None:
        module = _import('executorch.runtime')
        _import('torch')
        del threads  # the runtime chooses its own number
        if not osp.isfile(sidecar(path)):
            raise UserError(f'{path} needs {sidecar(path)} next to it; tools/export.py wrote both')
        try:
            with open(sidecar(path), encoding='utf-8') as file:
                strings = json.load(file)
        except ValueError as error:
            raise _broken(sidecar(path), error) from error
        self.metadata = Metadata.from_strings(strings, path)
        try:
            self._program = module.Runtime.get().load_program(path)
            method = self._program.load_method('forward')
        except Exception as error:
            raise _broken(path, error) from error
        self._execute = lambda images: [x.clone() for x in method.execute([images])]
