"""Run the toolboxes' own tools unchanged, after our preparation."""

from __future__ import annotations

import ast
import difflib
import os.path as osp
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.compat.prepare import TOOLBOXES, end_joined_process

_FIRST = ('', 'analysis_tools')  # tools in these folders keep their bare names if two are the same


def find_stock_tools(toolbox: str) -> dict[str, Path]:
    """Return the tools of a toolbox by name, those of `tools/` and of its analysis first.

    A name is the file's name without `.py`; if two are the same, the later one is prefixed with its
    folder: `mot/browse_dataset`.

    Raises:
        UserError: If the toolbox is unknown, not installed or was installed without its tools.
    """
    if toolbox not in TOOLBOXES:
        raise UserError(f'no toolbox {toolbox}; there are {" and ".join(TOOLBOXES)}')
    spec = find_spec(toolbox)
    if spec is None:
        raise UserError(f"{toolbox} is not installed; run: pip install 'mbv2_backbone[openmmlab]'")
    package = Path(spec.origin).parent
    # A wheel contains them; an editable install leaves them in the repository.
    folder = next((p for p in (package / '.mim/tools', package.parent / 'tools') if p.is_dir()), '')
    if not folder or not (folder / 'train.py').is_file():
        raise UserError(
            f'{toolbox} was installed without its tools: {package} has no .mim/tools; install it '
            f'from a wheel, or run the tools of a checkout with `import mbv2_backbone` first'
        )
    found = [path for path in folder.rglob('*.py') if path.name != '__init__.py']
    tools: dict[str, Path] = {}
    for path in sorted(found, key=lambda path: _place(path.relative_to(folder))):
        name = path.stem
        if name in tools:
            name = f'{path.parent.name}/{name}'
        tools[name] = path
    return tools


def _place(path: Path) -> tuple:
    parent = path.parent.as_posix().removeprefix('.')
    rank = _FIRST.index(parent) if parent in _FIRST else len(_FIRST)
    return rank, parent, path.name


def describe(toolboxes: Sequence[str] = TOOLBOXES) -> str:
    """Return a line for each tool, with its own description."""
    lines = []
    for toolbox in toolboxes:
        tools = find_stock_tools(toolbox)
        width = max(map(len, tools))
        for name, path in tools.items():
            lines.append(f'{toolbox} {name:{width}}  {_first_line(path)}'.rstrip())
    return '\n'.join(lines)


def _first_line(path: Path) -> str:
    """Return the first line of a script's help, else that of its docstring."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    text = ast.get_docstring(tree) or ''
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('ArgumentParser'):
            given = [k.value for k in node.keywords if k.arg == 'description'] + node.args[:1]
            if given and isinstance(given[0], ast.Constant):
                text = given[0].value
                break
    return text.strip().partition('\n')[0]


def run_stock(toolbox: str, name: str, args: Sequence[str] = ()) -> None:
    """Run a toolbox's own tool in this process, as if its file had been run.

    Args:
        toolbox: `mmdet` or `mmseg`.
        name: As returned by `find_stock_tools`; `-` may replace `_`.
        args: The tool's arguments.

    Raises:
        UserError: If there is no such toolbox or tool.
    """
    tools = find_stock_tools(toolbox)
    path = tools.get(name.removesuffix('.py').replace('-', '_'))
    if path is None:
        close = difflib.get_close_matches(name.replace('-', '_'), tools, n=3, cutoff=0.5)
        listed = f'the closest are {", ".join(close)}' if close else 'none is close'
        raise UserError(
            f'{toolbox} has no tool {name}; {listed}. See them all: mbv2 stock {toolbox} --list'
        )
    from mbv2_backbone.compat.stock_tools import prepare_stock_tools

    prepare_stock_tools(toolbox, path.stem)
    # As Python does for a script: the files next to it can be imported, and ours cannot.
    ours = osp.abspath(osp.dirname(sys.argv[0]))
    sys.path[:] = [str(path.parent), *(entry for entry in sys.path if osp.abspath(entry) != ours)]
    sys.argv[:] = [str(path), *args]
    runpy.run_path(str(path), run_name='__main__')
    end_joined_process()
