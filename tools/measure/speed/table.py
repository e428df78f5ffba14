"""Markdown tables of the results in JSON files."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..markdown import markdown_table

PLOTTED = ('scaling', 'growth', 'endurance')


def newest(results: Sequence[dict]) -> list[dict]:
    """Keep the last of the results that measure the same with the same settings on one machine."""
    kept: dict[str, dict] = {}
    for result in results:
        machine = {key: result['machine'].get(key) for key in ('cpu', 'gpu', 'threads')}
        names = [row['name'] for row in result['rows']]
        same = [result['work'], result['config'], result['settings'], machine, names]
        key = json.dumps(same, sort_keys=True)
        kept.pop(key, None)  # so that the order is that of the last ones
        kept[key] = result
    return list(kept.values())


def speed_table(results: Sequence[dict]) -> str:
    """Return Markdown: timed results in one table, others in their own, commands, machines."""
    results = newest(results)
    parts = []
    timed = [r for r in results if r['reference'] is not None]
    if timed:
        parts.append(_timed(timed))
    for result in results:
        if result['reference'] is None:
            columns = [key for key in result['rows'][0] if key not in ('series', 'milliseconds')]
            rows = [[_cell(row.get(column)) for column in columns] for row in result['rows']]
            if result['work'] in PLOTTED:
                continue
            parts.append(f'{_title(result)}:\n\n{markdown_table(columns, rows)}')
    notes = dict.fromkeys(note for result in results for note in result['notes'])
    parts.append('\n'.join(f'- {note}.' for note in notes))
    loads: dict[str, list[float]] = {}
    for result in results:
        loads.setdefault(_machine(result), []).append(result['machine']['load_before'])
    for machine, values in loads.items():
        parts.append(f'Measured on {machine}; load before: {min(values)} to {max(values)}.')
    commands = dict.fromkeys(result['command'] for result in results)
    parts.append('Repeat it with:\n\n```sh\n' + '\n'.join(commands) + '\n```')
    return '\n\n'.join(part for part in parts if part)


def brief_table(results: Sequence[dict], works: Sequence[str] = ()) -> str:
    """Return Markdown: how many times as fast ours is as the peer, without times and commands.

    Args:
        results: As read from the JSON files.
        works: Kinds of work to show, such as `train`; all if empty.
    """
    rows = []
    for result in newest(results):
        reference = result['reference']
        if reference is None or result['settings'].get('freed memory'):
            continue
        if works and result['work'] not in works:
            continue
        peer = reference.removesuffix(' --help')
        for row in result['rows']:
            if row['name'].startswith('ours'):
                ratio = row['times_as_fast']
                times = f'**{ratio["median"]:.1f}** ({ratio["q1"]:.1f} to {ratio["q3"]:.1f})'
                rows.append([_title(result), row['name'], times, peer])
    return markdown_table(('work', 'by', 'times as fast (quartiles)', 'as'), rows)


def _timed(results: Sequence[dict]) -> str:
    header = ['work', 'by', 'median ms (quartiles)', 'times as fast (quartiles)']
    rows = []
    for result in results:
        for i, row in enumerate(result['rows']):
            time, ratio = row['milliseconds'], row['times_as_fast']
            is_reference = row['name'] == result['reference']
            rows.append(
                [
                    _title(result) if i == 0 else '',
                    row['name'],
                    f'{time["median"]:.1f} ({time["q1"]:.1f} to {time["q3"]:.1f})',
                    '1'
                    if is_reference
                    else f'**{ratio["median"]:.2f}** ({ratio["q1"]:.2f} to {ratio["q3"]:.2f})',
                ]
            )
    return markdown_table(header, rows)


def _title(result: dict) -> str:
    settings = ', '.join(f'{k} {_cell(v)}' for k, v in result['settings'].items() if k != 'rounds')
    return f'{result["work"]}, `{result["config"]}`' + (f', {settings}' if settings else '')


def _machine(result: dict) -> str:
    machine, versions = result['machine'], result['versions']
    what = machine['gpu'] or machine['cpu']
    shown = ('python', 'torch', 'torchvision', 'mmdet', 'mmseg', 'timm', 'onnxruntime', 'openvino')
    named = ', '.join(f'{name} {versions[name]}' for name in shown if name in versions)
    return (
        f'{what}, {machine["threads"]} of {machine["cores"]} cores, ours in '
        f'{machine["ours_runs_in"]}, {named}'
    )


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return 'x'.join(map(str, value))
    return f'{value:,}' if isinstance(value, (int, float)) else str(value or '')
