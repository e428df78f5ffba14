"""Print a result as a text table, and add it to a JSON file of results."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import Machine
from mbv2_backbone.workbench.environment import versions

from .conditions import describe
from .timing import quartiles, times_as_fast


def timed_rows(
    seconds: Mapping[str, Sequence[float]], *, batch_size: int, reference: str
) -> list[dict]:
    """Turn timings into rows.

    Args:
        seconds: Of each round, by name; what `time_in_turn` returned.
        batch_size: Images in a call.
        reference: Name of the row that the others are compared with.
    """
    return [
        dict(
            name=name,
            milliseconds={key: 1000 * value for key, value in quartiles(values).items()},
            rounds=len(values),
            images_per_second=batch_size / quartiles(values)['median'],
            times_as_fast=times_as_fast(values, seconds[reference]),
        )
        for name, values in seconds.items()
    ]


def make_result(
    work: str,
    *,
    config: str,
    machine: Machine,
    settings: dict,
    rows: list[dict],
    notes: Sequence[str] = (),
    reference: str | None = None,
) -> dict:
    """Put rows, settings, machine and versions together.

    Args:
        work: What was measured: `train`, `predict` and so on.
        config: Path of the config.
        machine: What ours ran on.
        settings: Batch size, size and the like.
        rows: One dict per row; the first one is ours.
        notes: What a reader must know, such as a fix to a peer.
        reference: Name of the row that the others are compared with.
    """
    return dict(
        work=work,
        config=Path(config).name,
        command='python ' + shlex.join(['tools/benchmark.py', *sys.argv[1:]]),
        settings=settings,
        reference=reference,
        rows=rows,
        notes=list(notes),
        machine=describe(machine),
        versions=versions(),
    )


def format_result(result: dict) -> str:
    """Return a result as text: a table, notes, machine and versions."""
    settings = ', '.join(f'{key} {_short(value)}' for key, value in result['settings'].items())
    lines = [f'{result["work"]}: {result["config"]}; {settings}', '']
    rows = result['rows']
    if result['reference'] is not None:
        lines += _timed_table(rows, result['reference'])
    else:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines += text_table(columns, [[_short(row.get(c)) for c in columns] for row in rows])
    lines += ['', *(f'note: {note}' for note in result['notes'])]
    lines += [
        ', '.join(f'{key} {_short(value)}' for key, value in result[part].items() if value != '')
        for part in ('machine', 'versions')
    ]
    return '\n'.join(lines)


def _timed_table(rows: list[dict], reference: str | None) -> list[str]:
    header = ['', 'median ms', 'quartiles', 'images/s', f'times as fast as {reference}']
    body = []
    for row in rows:
        time, ratio = row['milliseconds'], row['times_as_fast']
        body.append(
            [
                row['name'],
                f'{time["median"]:.1f}',
                f'{time["q1"]:.1f} to {time["q3"]:.1f}',
                f'{row["images_per_second"]:.1f}',
                f'{ratio["median"]:.2f} ({ratio["q1"]:.2f} to {ratio["q3"]:.2f})',
            ]
        )
    return text_table(header, body)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the first column flush left, the others flush right."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    return [
        '  '.join(
            f'{cell:<{width}}' if i == 0 else f'{cell:>{width}}'
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]


def _short(value: object) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, (list, tuple)):
        return 'x'.join(map(_short, value))
    if isinstance(value, dict):
        return ', '.join(f'{key} {_short(item)}' for key, item in value.items())
    return '-' if value is None else str(value)


def append_json(path: str, result: dict) -> None:
    """Add a result to the list in a JSON file; the file is made if it is not there.

    Raises:
        UserError: If the file holds something else, or cannot be written.
    """
    results = [*read_json(path), result] if Path(path).exists() else [result]
    try:
        Path(path).write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    except OSError as error:
        raise UserError(f'cannot write the results to {path}: {error}') from error


def read_json(path: str) -> list[dict]:
    """Read the results that a file holds.

    Raises:
        UserError: If it does not contain results.
    """
    try:
        results = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read results from {path}: {error}') from error
    if not isinstance(results, list) or not all(
        isinstance(result, dict) and {'work', 'rows', 'machine'} <= result.keys()
        for result in results
    ):
        raise UserError(f'{path} contains no results; tools/benchmark.py … --json writes them')
    return results
