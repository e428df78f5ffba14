"""What COCO's evaluators take for granted in a file: sound ids, areas, `iscrowd`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Any

from ..common.messages import first_names

MAX_ID = 2**53  # above it, a double does not hold every whole number
MISREAD = (
    'our tools number and complete this themselves, but other evaluators may give wrong figures '
    '(docs/training.md); `python tools/data.py convert IN OUT --to coco` writes a sound file'
)
_NOT_SET = ('', '0', '0.0', 'false', 'no', 'none', 'null')


def complete_coco(data: dict) -> list[str]:
    """Number the annotations of a checked COCO file from 1 and fill in `iscrowd`, in place.

    Nothing refers to the number of an annotation, but evaluators mark what is not matched with 0,
    some read the numbers as doubles, and of equal ones they use the last.

    Args:
        data: As `check_coco` accepts it.

    Returns:
        What other tools would misread in the file as it was, a sentence each.
    """
    annotations = data.get('annotations', [])
    remarks = [
        *_odd_ids('annotation', [item.get('id') for item in annotations], lowest=1),
        *_odd_ids('image', [item['id'] for item in data['images']]),
        *_odd_ids('category', [item['id'] for item in data['categories']]),
    ]
    without_area = sum(not has_area(item) for item in annotations)
    if without_area:
        remarks.append(f'{without_area} of {len(annotations)} annotations have no area')
    without_crowd = 0
    for number, item in enumerate(annotations, 1):
        item['id'] = number
        crowd = item.get('iscrowd')
        if type(crowd) is not int:
            without_crowd += not isinstance(crowd, bool)
            item['iscrowd'] = int(str(crowd).strip().lower() not in _NOT_SET)
    if without_crowd:
        remarks.append(
            f'{without_crowd} of {len(annotations)} annotations have no iscrowd of 0 or 1'
        )
    return remarks


def has_area(annotation: dict) -> bool:
    """Return whether an annotation states an area that an object can have."""
    area = annotation.get('area')
    return type(area) in (int, float) and 0 < area < inf


def _odd_ids(what: str, ids: Sequence[Any], lowest: int = 0) -> list[str]:
    is_plain = set(map(type, ids)) <= {int} and len(set(ids)) == len(ids)
    if is_plain and (not ids or (lowest <= min(ids) and max(ids) <= MAX_ID)):
        return []
    counts = Counter(map(repr, ids))
    odd = [
        repr(value)
        for value in ids
        if type(value) is not int or not lowest <= value <= MAX_ID or counts[repr(value)] > 1
    ]
    return [
        f'{len(odd)} of {len(ids)} {what} ids are not whole numbers from {lowest} to 2^53, each '
        f'once: {first_names(dict.fromkeys(odd))}'
    ]
