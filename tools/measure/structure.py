#!/usr/bin/env python
"""Measure the structure of the package: lines, entries, import circles, upward imports.

Every import counts: late ones inside functions, those for type checkers, and `import_module` of a
literal name.

Examples:
    python tools/measure/structure.py
    python tools/measure/structure.py ANOTHER_CHECKOUT
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath

PACKAGE = 'mbv2_backbone'
# From the ground up: what stands in one row never imports its neighbours in that row.
FLOORS = (
    ('common',),
    ('annotations', 'compat', 'arch'),
    ('blocks', 'weights'),
    ('backbone', 'deploy'),
    ('__init__',),
    ('det', 'seg', 'cls'),
    ('joint',),
    ('utils', '__main__', 'workbench'),
)
_IMPORTERS = ('import_module', '__import__')


@dataclass(frozen=True, order=True)
class Arrow:
    """One file imports another; paths are relative to the checkout."""

    source: str
    target: str

    def __str__(self) -> str:
        return f'{self.source} -> {self.target}'


def python_files(root: Path) -> list[str]:
    """Return the files of the package and of its tools, relative to the checkout."""
    found = [*(root / PACKAGE).rglob('*.py'), *(root / 'tools').rglob('*.py')]
    paths = (path.relative_to(root) for path in found)
    hidden = (path for path in paths if not any(part.startswith('.') for part in path.parts))
    return sorted(path.as_posix() for path in hidden)


def module_name(path: str) -> str:
    """Return the name that a file is imported by; scripts in tools/ find `measure` beside them.

    >>> module_name('mbv2_backbone/det/__init__.py')
    'mbv2_backbone.det'
    """
    parts = PurePosixPath(path.removeprefix('tools/')).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imported_names(text: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the absolute dotted names that a module imports, wherever in it.

    `from a import b` gives `a.b`, as only the tree knows whether `b` is a module.
    """
    package = (module if is_package else module.rpartition('.')[0]).split('.')

    def above(dots: int) -> str:
        return '.'.join(package[: len(package) - dots + 1]) if dots else ''

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = '.'.join(filter(None, [above(node.level), node.module]))
            yield from (f'{start}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            name = node.args[0]
            if called in _IMPORTERS and isinstance(name, ast.Constant):
                path = name.value.lstrip('.')
                yield f'{above(len(name.value) - len(path))}.{path}'.lstrip('.')


def arrows(root: Path) -> set[Arrow]:
    """Return which file of a checkout imports which."""
    by_module = {module_name(path): path for path in python_files(root)}
    found = set()
    for module, path in by_module.items():
        text = (root / path).read_text(encoding='utf-8')
        for name in imported_names(text, module, is_package=path.endswith('__init__.py')):
            parts = name.split('.')
            for end in (len(parts), len(parts) - 1):
                target = by_module.get('.'.join(parts[:end]))
                if target is not None:
                    if target != path:
                        found.add(Arrow(path, target))
                    break
    return found


def floor_of(path: str) -> int:
    """Return the floor of a file, 0 at the bottom; tools stand over all.

    Raises:
        ValueError: If the file stands on no floor.
    """
    parts = PurePosixPath(path).with_suffix('').parts
    if parts[0] == 'tools':
        return len(FLOORS)
    for floor, rooms in enumerate(FLOORS):
        if parts[1] in rooms:
            return floor
    raise ValueError(f'{path} stands on no floor; add {parts[1]} to FLOORS')


def upward(found: Iterable[Arrow]) -> list[Arrow]:
    """Return the imports that go up, or across to a neighbour on the same floor."""
    wrong = []
    for arrow in found:
        source, target = floor_of(arrow.source), floor_of(arrow.target)
        is_same_room = PurePosixPath(arrow.source).parts[1] == PurePosixPath(arrow.target).parts[1]
        if target > source or (target == source and not is_same_room and source < len(FLOORS) - 1):
            wrong.append(arrow)
    return sorted(wrong)


def circles(found: Iterable[Arrow]) -> list[list[str]]:
    """Return the groups of files that import each other in a circle."""
    return _circles((arrow.source, arrow.target) for arrow in found)


def folder_circles(found: Iterable[Arrow]) -> list[list[str]]:
    """Return the circles between what stands side by side in one folder: files and folders."""
    pairs = set()
    for arrow in found:
        source, target = PurePosixPath(arrow.source).parts, PurePosixPath(arrow.target).parts
        for depth, (here, there) in enumerate(zip(source, target, strict=False), 1):
            if here != there:
                pairs.add(('/'.join(source[:depth]), '/'.join(target[:depth])))
                break
    return _circles(pairs)


def _circles(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the strongly connected groups of more than one node."""
    follows = defaultdict(set)
    for source, target in pairs:
        follows[source].add(target)

    def reach(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for node in follows[waiting.pop()] - seen:
                seen.add(node)
                waiting.append(node)
        return seen

    reached = {node: reach(node) for node in list(follows)}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached.get(other, ())))
        for node in reached
        if node in reached[node]
    }
    return sorted(list(group) for group in groups)


def doors(root: Path) -> list[str]:
    """Return what stands at the root of the package: files and folders."""
    package = root / PACKAGE
    return sorted(
        path.name for path in package.iterdir() if path.suffix == '.py' or list(path.rglob('*.py'))
    )


def repeated_names(root: Path) -> dict[str, list[str]]:
    """Return the files of the package that share their name with another."""
    paths = [path for path in python_files(root) if path.startswith(f'{PACKAGE}/')]
    counts = Counter(PurePosixPath(path).name for path in paths)
    return {
        name: [path for path in paths if PurePosixPath(path).name == name]
        for name, count in sorted(counts.items())
        if count > 1 and name != '__init__.py'
    }


def lines(root: Path) -> int:
    """Return the number of lines of the package's Python files."""
    paths = [path for path in python_files(root) if path.startswith(f'{PACKAGE}/')]
    return sum(len((root / path).read_text(encoding='utf-8').splitlines()) for path in paths)


def room_arrows(found: Iterable[Arrow]) -> set[tuple[str, str]]:
    """Return which room imports which; a room is a folder, or a file at the root."""
    pairs = ((room_of(arrow.source), room_of(arrow.target)) for arrow in found)
    return {(source, target) for source, target in pairs if source != target}


def against_any_order(pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the fewest pairs that go up, however the rooms are put on floors."""
    found: list[tuple[str, str]] = []
    for group in _circles(pairs):
        inside = {pair for pair in pairs if set(pair) <= set(group)}
        choices = (
            set(cut) for n in range(1, len(inside)) for cut in combinations(sorted(inside), n)
        )
        found += next(cut for cut in choices if not _circles(inside - cut))
    return sorted(found)


def room_of(path: str) -> str:
    """Return the room of a file: its folder in the package or the workbench, else the file.

    >>> room_of('mbv2_backbone/workbench/data/show/sheet.py')
    'mbv2_backbone/workbench/data'
    """
    parts = PurePosixPath(path).parts
    return '/'.join(parts[:3] if parts[1] == 'workbench' else parts[:2])


def report(root: Path) -> str:
    """Return the figures and, where there are any, the places at fault."""
    found = arrows(root)
    inside = {arrow for arrow in found if arrow.source.startswith(f'{PACKAGE}/')}
    names = repeated_names(root)
    between = room_arrows(inside)
    going_up = against_any_order(between)
    facts = [
        ('lines', lines(root), []),
        ('files', len([p for p in python_files(root) if p.startswith(PACKAGE)]), []),
        ('doors', len(doors(root)), []),
        ('rooms', len({room for pair in between for room in pair}), []),
        ('imports between rooms', len(between), []),
        ('of these go up in any order of the rooms', len(going_up), map(' -> '.join, going_up)),
        ('circles of files', len(circles(inside)), [' <-> '.join(c) for c in circles(inside)]),
        (
            'circles of folders',
            len(folder_circles(inside)),
            [' <-> '.join(c) for c in folder_circles(inside)],
        ),
        ('names used twice', len(names), [f'{n}: {", ".join(p)}' for n, p in names.items()]),
    ]
    text = []
    for what, count, where in facts:
        text += [f'{count:6,} {what}', *(f'         {place}' for place in where)]
    try:
        wrong = upward(inside)
        text += [f'{len(wrong):6,} imports against the floors', *(f'         {a}' for a in wrong)]
    except ValueError:
        text += ['     - imports against the floors: this tree has others']
    return '\n'.join(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', nargs='?', type=Path, help='a checkout (default: this one)')
    return parser.parse_args()


if __name__ == '__main__':
    print(report(parse_args().root or Path(__file__).resolve().parents[2]))
