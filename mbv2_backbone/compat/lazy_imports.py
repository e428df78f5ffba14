"""Load heavy packages that the toolboxes import at start-up only on first use.

Reason: `import mmdet.models` alone loads scipy, scikit-learn, pandas, imgaug, numba, sympy and
matplotlib, for a few of its thousand classes; that takes longer than the rest of start-up.
Versions: mmengine 0.10.7, mmdet 3.3.0, mmsegmentation 1.2.2, onedl-mmengine 0.10.12,
onedl-mmdetection 3.5.1, onedl-mmsegmentation 1.4.2, torchvision 0.29.
Delete when: the toolboxes import these packages where they use them, or run on Python 3.15 alone.

Python 3.15 can import lazily itself (`lazy import`, PEP 810). `sys.set_lazy_imports('all')` and a
filter for the heavy packages that a toolbox imports will replace the finder, the loader and the
rewriting. They cannot be used yet: the toolboxes do not install there (docs/compatibility.md).

What happens: while a file of a toolbox is compiled, its top-level imports of heavy packages move
into a function `__load_deferred__` of that module, which every function that uses one of their
names calls first. So names refer to the real objects, as usual, only later. A name that is needed
while the module itself runs (a base class, a decorator, a default) is imported at once, as usual.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from copy import copy
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_IMPORTERS = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'torchvision')
_PACKAGES = (
    'albumentations',
    'imagecorruptions',
    'imgaug',
    'matplotlib',
    'motmetrics',
    'scipy',
    'seaborn',
    'shapely',
    'skimage',
    'sklearn',
    'timm',
    'torch._dynamo',
    'transformers',
)
# Classes whose bases are heavy are deferred with their files: name in a registry -> file.
_REGISTERED = {
    'FlexibleRunner': 'mmengine.runner._flexible_runner',
    'MMFullyShardedDataParallel': 'mmengine.model.wrappers.fully_sharded_distributed',
    'ZeroRedundancyOptimizer': 'mmengine.optim.optimizer.zero_optimizer',
}
_LOAD = '__load_deferred__'
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_HEAVY = (*_PACKAGES, *_REGISTERED.values())
# A newline first, of which there are few, makes the search several times as fast as `^` does.
_MENTIONS_HEAVY = re.compile(
    r'\n[ \t]*(?:import|from) (?:{})\b|{}'.format(
        '|'.join(_PACKAGES), '|'.join(_REGISTERED)
    ).encode()
)
_VERSION = zlib.crc32(Path(__file__).read_bytes())
_CACHE = Path(__file__).parent / '__pycache__' / 'lazy'
_TEMPLATE = """
def {load}():
    global {load}, {names}
    {load} = bool  # a call that does nothing


def __getattr__(name):
    if name in '{names}'.split(', '):
        {load}()
        return globals()[name]
    raise AttributeError(f'module {{__name__!r}} has no attribute {{name!r}}')
"""


def install() -> None:
    """Defer heavy imports in toolbox files that are imported from now on; safe to call again."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())

    from mmengine.registry import Registry

    def get(self: Registry, key: str) -> Any:
        name = str(key).rpartition('.')[2]
        if name in _REGISTERED:
            import_module(_REGISTERED[name])
        return registry_get(self, key)

    registry_get = Registry.get
    Registry.get = functools.wraps(registry_get)(get)


class _Finder(MetaPathFinder):
    """Finds toolbox files where Python does; those with heavy imports get our loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a toolbox file that imports something heavy, else None."""
        if fullname.partition('.')[0] not in _IMPORTERS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        if _MENTIONS_HEAVY.search(b'\n' + spec.loader.get_data(spec.origin)):
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a file with heavy imports deferred, and caches the bytecode next to this file."""

    def source_to_code(self, data: bytes, path: str, **options: Any) -> CodeType:
        """Return the compiled module."""
        tree = ast.parse(data, path)
        package = self.name if self.is_package(self.name) else self.name.rpartition('.')[0]
        defer_imports(tree, package)
        return super().source_to_code(tree, path, **options)

    def get_data(self, path: str) -> bytes:
        """Read the source, or our bytecode instead of Python's."""
        return super().get_data(self._ours(path))

    def set_data(self, path: str, data: bytes, **options: Any) -> None:
        """Write our bytecode; Python's stays unchanged."""
        super().set_data(self._ours(path), data, **options)

    def _ours(self, path: str) -> str:
        if not path.endswith('.pyc'):
            return path
        key = zlib.crc32(path.encode(), _VERSION)
        return str(_CACHE / f'{self.name}.{sys.implementation.cache_tag}-{key:x}.pyc')


def defer_imports(tree: ast.Module, package: str) -> None:
    """Move the heavy imports of a module into a function that runs on first use, in place.

    Args:
        tree: The module.
        package: What its relative imports are relative to.
    """
    needed = set(_names_needed_at_once(tree))
    if '__getattr__' in needed:
        return
    body, moved = _split(tree.body, package, needed)
    names = {name for node in moved for name in _bound_names(node)}
    if not names:
        return
    for function in _outer_functions(tree):
        if any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(function)):
            call = ast.Expr(ast.Call(ast.Name(_LOAD, ast.Load()), [], []))
            function.body.insert(1 if ast.get_docstring(function, clean=False) else 0, call)
    load, getter = ast.parse(_TEMPLATE.format(load=_LOAD, names=', '.join(sorted(names)))).body
    load.body[1:1] = moved
    start = next(i for i, node in enumerate(body) if not _stands_first(node))
    tree.body = [*body[:start], load, getter, *body[start:]]
    ast.fix_missing_locations(tree)


def _split(
    body: list[ast.stmt], package: str, needed: set[str]
) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Split statements into those that stay and those that are deferred."""
    stay, moved = [], []
    for node in body:
        if isinstance(node, _IMPORTS):
            heavy = [
                a for a in node.names if _is_heavy(node, a, package) and _name(a) not in needed
            ]
            light = [alias for alias in node.names if alias not in heavy]
            stay += [_with_names(node, light)] if light else []
            moved += [_with_names(node, heavy)] if heavy else []
        elif _is_guarded_import(node):
            imports = [child for child in ast.walk(node) if isinstance(child, _IMPORTS)]
            heavy = any(_is_heavy(child, a, package) for child in imports for a in child.names)
            is_moved = heavy and needed.isdisjoint(_bound_names(node))
            (moved if is_moved else stay).append(node)
        elif isinstance(node, ast.If):
            branches = [_split(branch, package, needed) for branch in (node.body, node.orelse)]
            (body_stays, body_moves), (else_stays, else_moves) = branches
            stay.append(_with_branches(node, body_stays, else_stays))
            if body_moves or else_moves:
                moved.append(_with_branches(node, body_moves, else_moves))
        else:
            stay.append(node)
    return stay, moved


def _with_names(node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> ast.stmt:
    new = copy(node)
    new.names = names
    return new


def _with_branches(node: ast.If, body: list[ast.stmt], orelse: list[ast.stmt]) -> ast.If:
    new = copy(node)
    new.body, new.orelse = body or [ast.Pass()], orelse
    return new


def _is_heavy(node: ast.Import | ast.ImportFrom, alias: ast.alias, package: str) -> bool:
    if isinstance(node, ast.Import):
        modules = [alias.name]
    elif alias.name == '*':
        return False
    else:
        source = resolve_name('.' * node.level + (node.module or ''), package)
        if source.startswith('mmengine') and alias.name in _REGISTERED:
            return True
        modules = [source, f'{source}.{alias.name}']
    return any(f'{module}.'.startswith(f'{heavy}.') for module in modules for heavy in _HEAVY)


def _is_guarded_import(node: ast.AST) -> bool:
    """Check whether a node is a `try` that only imports, with plain values as the fallback."""
    if not isinstance(node, ast.Try) or node.finalbody:
        return False
    handled = [child for handler in node.handlers for child in handler.body]
    return isinstance(node.body[0], _IMPORTS) and all(
        isinstance(child, _IMPORTS)
        or (isinstance(child, ast.Assign) and isinstance(child.value, (ast.Constant, ast.Name)))
        for child in node.body + handled + node.orelse
    )


def _bound_names(node: ast.stmt) -> set[str]:
    """Return the names that imports, including guarded ones, bind."""
    nodes = list(ast.walk(node))
    aliases = {alias for child in nodes if isinstance(child, _IMPORTS) for alias in child.names}
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {_name(alias) for alias in aliases}


def _name(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition('.')[0]


def _names_needed_at_once(node: ast.AST) -> Iterator[str]:
    """Yield the names that a module uses or defines while it is imported, outside of functions.

    Names that functions declare as `global` are included.
    """
    if _is_guarded_import(node):
        return
    if isinstance(node, ast.Name):
        yield node.id
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, _FUNCTIONS):
        yield node.name
        for inner in ast.walk(node):
            yield from inner.names if isinstance(inner, ast.Global) else ()
        children = [child for child in children if child not in node.body]
    for child in children:
        yield from _names_needed_at_once(child)


def _outer_functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods that are not inside another function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            yield child
        else:
            yield from _outer_functions(child)


def _stands_first(node: ast.stmt) -> bool:
    """Check whether a statement must stay at the top: a docstring, or `from __future__`."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or (isinstance(node, ast.ImportFrom) and node.module == '__future__')
