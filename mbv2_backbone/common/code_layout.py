"""Format configs as Python code."""

from __future__ import annotations

import ast

_LINE_LENGTH = 79  # yapf's limit when it formats configs for mmengine


def lay_out(code: str) -> str:
    """Format assignments of literals and calls; values too long for a line get a line per item."""
    lines = []
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign):
            target = ast.unparse(node.targets[0])
            lines.append(f'{target} = {_value(node.value, 0, len(target) + 3)}')
        else:
            lines.append(ast.unparse(node))
    return '\n'.join(lines) + '\n'


def _value(node: ast.expr, indent: int, used: int) -> str:
    """Format a value at an indent, where `used` columns of its first line are already taken."""
    text = ast.unparse(node)
    items: list[tuple[str, ast.expr]] = []
    if isinstance(node, ast.Call) and not node.args:
        items = [(f'{k.arg}=' if k.arg else '**', k.value) for k in node.keywords]
        brackets = f'{ast.unparse(node.func)}(', ')'
    elif isinstance(node, ast.Dict) and None not in node.keys:
        items = [(f'{ast.unparse(k)}: ', v) for k, v in zip(node.keys, node.values, strict=True)]
        brackets = '{', '}'
    elif isinstance(node, (ast.List, ast.Tuple)):
        items = [('', item) for item in node.elts]
        brackets = ('[', ']') if isinstance(node, ast.List) else ('(', ')')
    if not items or used + len(text) < _LINE_LENGTH:
        return text
    inner = indent + 4
    lines = [f'{key}{_value(item, inner, inner + len(key))},' for key, item in items]
    begin = '\n' + ' ' * inner
    return f'{brackets[0]}{begin}{begin.join(lines)}\n{" " * indent}{brackets[1]}'
