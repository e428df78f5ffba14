"""Export to a web page that runs the ONNX export in the browser: a folder, or one HTML file."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from ...deploy.metadata import Metadata
from ...deploy.predictor import NUM_LIKELIEST
from . import onnxruntime_web, to_onnx
from .graph import ExportGraph
from .saved import Saved, check_path

_PAGE = Path(__file__).parent / 'page'
_LOOK = Path(__file__).parents[1] / 'drawing' / 'page'  # what the page of `predict --serve` has too
_STYLE = 'page.css'
# A script comes after those that it imports from.
_SCRIPTS = (
    _LOOK / 'draw.js',
    _LOOK / 'panel.js',
    *(
        _PAGE / f'{name}.js'
        for name in ('resize', 'centre', 'place', 'files', 'network', 'camera', 'page')
    ),
)
_SERVED_POLICY = "default-src 'self'; img-src 'self' blob: data:"
_FOLDER_POLICY = f"{_SERVED_POLICY}; script-src 'self' 'wasm-unsafe-eval'"
# Nothing is allowed that reaches another machine.
_FILE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src blob: data:; "
    "script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:"
)
_LOADING = 'Loading the model …'
_UNSERVED = f'{_LOADING} A browser does so only from a web server, not if the file is opened.'


def save(graph: ExportGraph, metadata: Metadata, path: str) -> Saved:
    """Write an `.html` file, or a folder if the path has no such suffix."""
    runtime = onnxruntime_web.fetch()
    model = Path(check_path(f'{path}.onnx'))
    saved = to_onnx.save(graph, metadata, str(model))
    if path.endswith('.html'):
        _write_file(Path(path), model, metadata, runtime)
    else:
        _write_folder(Path(path), model, metadata, runtime)
    return replace(saved, final_path=str(model))


def _write_folder(path: Path, model: Path, metadata: Metadata, runtime: Path) -> None:
    (path / 'ort').mkdir(parents=True)
    for file in (*_SCRIPTS, _LOOK / _STYLE):
        shutil.copyfile(file, path / file.name)
    for name in (*onnxruntime_web.WASM_FILES, *onnxruntime_web.WEBGPU_FILES):
        shutil.copyfile(runtime / name, path / 'ort' / name)
    shutil.copyfile(model, path / 'model.onnx')
    exported = _exported(path.name.removesuffix('_web'), metadata, has_web_gpu=True)
    html = _page(_FOLDER_POLICY, exported, _UNSERVED)
    (path / 'index.html').write_text(html, encoding='utf-8')


def _write_file(path: Path, model: Path, metadata: Metadata, runtime: Path) -> None:
    style = (_LOOK / _STYLE).read_text(encoding='utf-8')
    packed = {'model.onnx': model} | {
        f'ort/{name}': runtime / name for name in onnxruntime_web.WASM_FILES
    }
    parts = [
        _exported(path.stem, metadata, has_web_gpu=False),
        *(_packed(name, file.read_bytes()) for name, file in packed.items()),
        f'<script type="module">\n{_joined_scripts()}</script>',
    ]
    html = _page(_FILE_POLICY, '\n'.join(parts), _LOADING)
    html = _with(html, f'<link rel="stylesheet" href="{_STYLE}">', f'<style>\n{style}</style>')
    html = _with(html, '<script type="module" src="page.js"></script>', '')
    path.write_text(html, encoding='utf-8')


def _page(policy: str, exported: str, message: str) -> str:
    html = (_LOOK / 'index.html').read_text(encoding='utf-8')
    html = _with(html, _SERVED_POLICY, policy)
    html = _with(html, 'role="status">', f'role="status">{message}')
    return _with(html, '</body>', f'{exported}\n</body>')


def _with(html: str, old: str, new: str) -> str:
    before, _, after = html.partition(old)
    return before + new + after


def _exported(name: str, metadata: Metadata, *, has_web_gpu: bool) -> str:
    content = dict(
        name=name,
        metadata=asdict(metadata),
        hasWebGpu=has_web_gpu,
        numLikeliest=NUM_LIKELIEST,
    )
    text = json.dumps(content).replace('<', r'\u003c')  # a name may contain `</script>`
    return f'<script id="exported" type="application/json">{text}</script>'


def _packed(name: str, content: bytes) -> str:
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'<script id="{name}" type="text/plain">{text}</script>'


def _joined_scripts() -> str:
    """Return all modules as one: without imports, their functions find each other by name.

    So no name may be declared by two of them; the browser refuses the whole script then.
    """
    text = '\n'.join(path.read_text(encoding='utf-8') for path in _SCRIPTS)
    return re.sub(r"^(import \{.*?\} from '\./.*?';\n|export )", '', text, flags=re.M)
