"""Markdown tables of the records."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from ..markdown import markdown_table
from .groups import Group, reference_of, sign_of

_SIGNS = (
    'Mean over seeds (lowest to highest), at the last epoch. Against {reference}: difference of '
    'the means, ratio, and a sign: ▲ above and ▼ below it in every seed, ≈ the ranges overlap, '
    '? fewer than two seeds. Minutes are those of the device named.'
)
_MEANS = dict(
    det=('coco/bbox_mAP', 'coco/bbox_mAP_50'),
    seg=('mIoU', 'mAcc'),
    cls=('accuracy/top1', 'accuracy/top5'),
)
_OF_CLASS = dict(
    det=('coco/{}_precision', 'coco/{}_50_precision'),
    seg=('IoU/{}', 'Acc/{}'),
    cls=('accuracy/{}', ''),
)
_TITLES = dict(
    det=('mAP', 'mAP50', 'AP', 'AP50'),
    seg=('mIoU', 'mean accuracy', 'IoU', 'accuracy'),
    cls=('top-1', 'top-5', 'top-1', 'top-5'),
)
_SIZES = dict(small='coco/bbox_mAP_s', medium='coco/bbox_mAP_m', large='coco/bbox_mAP_l')
_NONE = '-'


def accuracy_markdown(
    groups: dict[str, list[Group]], references: Sequence[str], classes: Sequence[str]
) -> str:
    """Return the tables of all datasets.

    Args:
        groups: As `read_groups` returns them.
        references: Names of the runs that the others are compared with, one per dataset.
        classes: Names of the classes with rows of their own.
    """
    return '\n\n'.join(
        part
        for data, found in groups.items()
        for part in _dataset(data, _best_first(found), references, classes)
    )


def _best_first(groups: Sequence[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: -mean(group.values(group.metric)))


def _dataset(
    data: str, groups: list[Group], references: Sequence[str], classes: Sequence[str]
) -> list[str]:
    reference = reference_of(groups, references)
    note = _SIGNS.format(reference=reference.name if reference else 'nothing (no reference)')
    task = _kind(groups[0])
    shown = [name for name in groups[0].first['classes'] if name in classes]
    rows = _class_rows(groups, reference, shown)
    if task == 'det':
        rows += _size_rows(groups, reference)
    titles = [*_TITLES[task][2:], 'against the reference']
    return [
        f'### {data}',
        note,
        _main_table(groups, reference),
        markdown_table(['', 'run', *titles], rows),
        '\n'.join(f'- {group.name}: `{group.first["command"]}`' for group in groups),
    ]


def _kind(group: Group) -> str:
    return 'det' if group.first['task'] == 'joint' else group.first['task']


def _main_table(groups: Sequence[Group], reference: Group | None) -> str:
    task = _kind(groups[0])
    header = [
        'run', 'seeds', *_TITLES[task][:2], 'against the reference', f'best {_TITLES[task][0]}',
        'params M', 'MAdds B', 'epochs', 'minutes to train', 'minutes in all', 'device',
    ]  # fmt: skip
    rows = []
    for group in groups:
        first = group.first
        means = [spread_text(group.values(key), task) for key in _MEANS[task]]
        rows.append(
            [
                group.name,
                len(group.records),
                *means,
                against(group, reference, group.metric),
                spread_text(group.values(group.metric, 'best'), task),
                f'{first["params"] / 1e6:.2f}',
                f'{first["madds"] / 1e9:.2f}',
                f'{first["final"]["epochs"]:g}',
                f'{mean(record["train_minutes"] for record in group.records):.1f}',
                f'{mean(record["total_minutes"] for record in group.records):.1f}',
                first['machine']['device'],
            ]
        )
    return markdown_table(header, rows)


def _class_rows(
    groups: Sequence[Group], reference: Group | None, classes: Sequence[str]
) -> list[list[str]]:
    task = _kind(groups[0])
    rows = []
    for name in classes:
        keys = [key.format(name) for key in _OF_CLASS[task]]
        rows += [_row(name, group, reference, keys) for group in groups]
    return rows


def _size_rows(groups: Sequence[Group], reference: Group | None) -> list[list[str]]:
    return [
        _row(f'{size} boxes', group, reference, [key, ''])
        for size, key in _SIZES.items()
        for group in groups
        if any(value >= 0 for value in group.values(key))  # -1 where there is no such box
    ]


def _row(what: str, group: Group, reference: Group | None, keys: Sequence[str]) -> list[str]:
    cells = [spread_text(group.values(key), _kind(group)) for key in keys]
    return [what, group.name, *cells, against(group, reference, keys[0])]


def spread_text(values: Sequence[float], task: str) -> str:
    """Return mean, lowest and highest; mAP with three places, what is in percent with one."""
    if not values:
        return _NONE
    places = 3 if task == 'det' else 1
    text = f'{mean(values):.{places}f}'
    if len(values) > 1:
        text += f' ({min(values):.{places}f} to {max(values):.{places}f})'
    return text


def against(group: Group, reference: Group | None, key: str) -> str:
    """Return difference, ratio and sign of a figure, or a dash if there is nothing to compare."""
    if reference is None or group is reference:
        return _NONE
    values, others = group.values(key), reference.values(key)
    if not values or not others:
        return _NONE
    places = 3 if _kind(group) == 'det' else 1
    difference = f'{mean(values) - mean(others):+.{places}f}'
    ratio = f'{mean(values) / mean(others):.2f} times, ' if mean(others) > 0 else ''
    return f'{difference} ({ratio}{sign_of(values, others)})'
