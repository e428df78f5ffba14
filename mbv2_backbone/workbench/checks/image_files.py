"""Find broken or unusual images from their headers and annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from ...annotations.images import BrokenSampleError, ImageFacts, check_boxes_fit, read_image_facts
from ...common.messages import MAX_NAMED, first_names
from .scan import scan_files

MIN_SIDE = 8
MANY_PIXELS = 50 * 10**6


def check_samples(samples: Sequence[dict], cache: Path) -> tuple[dict[str, str], list[str]]:
    """Read the headers of images, and compare them with their annotations.

    Args:
        samples: From `samples_of`; images that are not on this machine are skipped.
        cache: JSON file that caches the results.

    Returns:
        What is wrong with the broken images, by path; what is unusual about other images.
    """
    local = {s['img_path']: s for s in samples if '://' not in s['img_path']}
    facts = scan_files(
        [(path,) for path in local],
        read_image_facts,
        cache,
        kind=ImageFacts,
        what='Checking images',
        unit='images',
    )
    return judge_all(zip(local.values(), facts, strict=True))


def judge_all(samples: Iterable[tuple[dict, ImageFacts]]) -> tuple[dict[str, str], list[str]]:
    """Compare images with their annotations; returns the same as `check_samples`."""
    broken, unusual = {}, defaultdict(list)
    for sample, fact in samples:
        path = sample['img_path']
        problem, note = judge(fact, sample)
        if problem:
            broken[path] = problem
        if note:
            unusual[note].append(path)
    notes = [
        f'{len(paths)} image(s) {note}: {first_names(paths, MAX_NAMED)}'
        for note, paths in unusual.items()
    ]
    return broken, notes


def samples_of(dataset: Any) -> list[dict]:
    """Return the data info of each image of a dataset, without loading it.

    Datasets that are not mmengine's have none.
    """
    if isinstance(dataset, BaseDataset):
        samples = (dataset.get_data_info(i) for i in range(len(dataset)))
        return [sample for sample in samples if 'img_path' in sample]
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    inner = [part for part in inner if part is not None]
    return [sample for part in inner for sample in samples_of(part)]


def judge(facts: ImageFacts, sample: dict) -> tuple[str, str]:
    """Return what is wrong and what is unusual about an image.

    Args:
        facts: Facts about the file.
        sample: With `width`, `height` and `instances` if annotations state them.

    Returns:
        Why it cannot be trained on; what is unusual about it, and how it is handled. Both are
        empty for most images.
    """
    if facts.error:
        return facts.error, ''
    stated = sample.get('width'), sample.get('height')
    if None not in stated and stated != facts.seen_wh:
        if stated == facts.stored_wh:
            return '', 'are not rotated as their EXIF data says, to match their annotations'
        width, height = facts.seen_wh
        try:
            check_boxes_fit(dict(sample, img_shape=(height, width)))
        except BrokenSampleError as error:
            return str(error), ''
        return '', 'differ in size from their annotations; their boxes fit nevertheless'
    if facts.orientation != 1 and sample.get('instances') and facts.seen_wh == facts.stored_wh:
        return '', 'are rotated by EXIF data; boxes are assumed to be for the rotated image'
    if min(facts.seen_wh) < MIN_SIDE:
        return '', f'are less than {MIN_SIDE} pixels wide or high'
    if facts.seen_wh[0] * facts.seen_wh[1] > MANY_PIXELS:
        return '', f'have more than {MANY_PIXELS // 10**6} million pixels and take long to decode'
    return '', f'are {facts.kind}, read as 8-bit colour' if facts.kind else ''
