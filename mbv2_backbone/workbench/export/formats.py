"""Write a graph in each export format."""

from __future__ import annotations

import os.path as osp
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...common.messages import UserError
from ...deploy.metadata import Metadata
from .graph import ExportGraph

if TYPE_CHECKING:
    import onnx
    import openvino

_PACKAGES = {
    'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino': ('onnx', 'onnxscript', 'openvino'),
    'torch-export': (),
    'executorch': ('executorch',),
}


def check_installed(to: str, *, int8: bool = False) -> None:
    """Refuse a format whose packages, to write it and to run it, are not all installed.

    Raises:
        UserError: If one is missing; says what to install.
    """
    packages = (*_PACKAGES[to], 'nncf') if int8 and to == 'openvino' else _PACKAGES[to]
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(
            f'{to} files need {" and ".join(missing)}, not installed here: '
            f'pip install {" ".join(missing)}'
        )


def save(
    graph: ExportGraph, metadata: Metadata, to: str, path: str
) -> tuple[onnx.ModelProto | openvino.Model | None, str]:
    """Write a graph to a file.

    Args:
        graph: The graph to export.
        metadata: Metadata of the file.
        to: The format, a key of `runtimes.SUFFIXES`.
        path: Path of the file, with the suffix of the format.

    Returns:
        The model that was written, if its format is ONNX or OpenVINO, and a file with the raw
        outputs of the same network: itself, or one whose name starts with `check_`.
    """
    if to in ('torch-export', 'executorch'):
        from .to_torch import save_executorch, save_torch_export

        write_program = save_torch_export if to == 'torch-export' else save_executorch
        write_program(graph, metadata, path)
        return None, path
    from .to_onnx import export_onnx, with_final_outputs

    raw_metadata = replace(metadata, is_raw=True)
    raw_onnx = export_onnx(graph, raw_metadata)
    raw = in_format(to, raw_onnx, raw_metadata)
    if metadata.is_raw:
        write(raw, path)
        return raw, path
    folder, name = osp.split(path)
    raw_path = osp.join(folder, f'check_{name}')
    write(raw, raw_path)
    final = in_format(to, with_final_outputs(raw_onnx, metadata), metadata)
    write(final, path)
    return final, raw_path


def in_format(
    to: str, model: onnx.ModelProto, metadata: Metadata
) -> onnx.ModelProto | openvino.Model:
    """Return an ONNX model unchanged (`to='onnx'`) or converted (`to='openvino'`)."""
    if to == 'onnx':
        return model
    from .to_openvino import to_openvino

    return to_openvino(model, metadata)


def write(model: onnx.ModelProto | openvino.Model, path: str) -> None:
    """Write an ONNX model (`.onnx`) or an OpenVINO model (`.xml`, and `.bin` next to it)."""
    if path.endswith('.onnx'):
        import onnx

        onnx.save(model, path)
    else:
        from .to_openvino import save_openvino

        save_openvino(model, path)
