"""Group the records of one run by its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbv2_backbone.common.messages import UserError

from .record import METRIC, read_record


@dataclass(frozen=True)
class Group:
    """One run over its seeds.

    Attributes:
        records: One per seed, as `make_record` returns them.
    """

    records: tuple[dict[str, Any], ...]

    @property
    def first(self) -> dict[str, Any]:
        """Any of the records, for what all seeds share."""
        return self.records[0]

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.first['name']

    @property
    def metric(self) -> str:
        """The key of the main metric."""
        return METRIC[self.first['task']]

    def values(self, key: str, of: str = 'final') -> list[float]:
        """Return a metric of each seed that has it.

        Args:
            key: Such as `coco/bbox_mAP`.
            of: `final` for the last validation, `best` for the best one.
        """
        return [record[of][key] for record in self.records if key in record[of]]


def read_groups(folder: str) -> dict[str, list[Group]]:
    """Read all records in a folder; return the groups of each dataset, by name.

    Raises:
        UserError: If there is none, or if the settings of a run differ between its seeds.
    """
    records = [read_record(path) for path in sorted(Path(folder).glob('*.json'))]
    if not records:
        raise UserError(f'no records in {folder}; tools/accuracy.py run writes them')
    by_name: dict[str, list[dict]] = {}
    for record in records:
        by_name.setdefault(record['name'], []).append(record)
    groups: dict[str, list[Group]] = {}
    for name, found in by_name.items():
        if len({record['digest'] for record in found}) > 1:
            raise UserError(
                f'the seeds of {name} in {folder} were trained with different settings; delete the '
                f'older files and run them again'
            )
        found.sort(key=lambda record: record['seed'])
        groups.setdefault(found[0]['data'], []).append(Group(tuple(found)))
    return dict(sorted(groups.items()))


def reference_of(groups: Sequence[Group], names: Sequence[str]) -> Group | None:
    """Return the group that the others of a dataset are compared with, if it exists."""
    return next((group for group in groups if group.name in names), None)


def sign_of(values: Sequence[float], reference: Sequence[float]) -> str:
    """Return a sign that tells whether a difference exceeds the spread over seeds.

    Returns:
        `▲` if the lowest value is above the highest of the reference, `▼` if the highest is below
        its lowest, `≈` if the ranges overlap, `?` if either has one seed only.
    """
    if min(len(values), len(reference)) < 2:
        return '?'
    if min(values) > max(reference):
        return '▲'
    return '▼' if max(values) < min(reference) else '≈'
