"""`mbv2 TOOL …` runs the tool of that name in tools/, which is installed with the package.

It is outside the package, whose import loads torch, so that --help responds at once.
"""

from __future__ import annotations

import ast
import importlib.metadata
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

USER_ERROR = 2


def find_tools() -> dict[str, Path]:
    """Return the tools by name: the files that are scripts."""
    package = Path(find_spec('mbv2_backbone').origin).parent
    scripts = sorted((package / '.mim' / 'tools').glob('*.py'))
    return {
        path.stem.replace('_', '-'): path
        for path in scripts
        if path.read_text(encoding='utf-8').startswith('#!')
    }


def describe(tools: dict[str, Path]) -> str:
    """Return the help: for each tool, the first line of its docstring."""
    lines = ['usage: mbv2 TOOL …', '', '`mbv2 TOOL --help` shows the arguments of a tool.', '']
    for name, path in tools.items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        lines.append(f'  {name:16} {text.partition(chr(10))[0]}')
    return '\n'.join(lines)


def main() -> None:
    """Run the tool named on the command line."""
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    tools = find_tools()
    if name in ('-h', '--help'):
        print(describe(tools))
    elif name == '--version':
        print(importlib.metadata.version('mbv2_backbone'))
    elif path := tools.get(name.replace('_', '-')):
        del sys.argv[1]  # and run_path sets the first entry to the script's name
        sys.path.insert(0, str(path.parent))  # where a script finds the files next to it
        runpy.run_path(str(path), run_name='__main__')
    else:
        listed = ', '.join(tools) or 'none installed; install the package again'
        print(f'error: no tool {name}; there are {listed}', file=sys.stderr)
        sys.exit(USER_ERROR)
