"""Number and complete what mmdet's COCO metrics compare, whatever ids stand in the files.

mmdet's other metrics need none of it: those of VOC, OpenImages and CrowdHuman match by position or
name, the panoptic one reads the ids of segments from the colours of its masks, and that of LVIS
needs a package (lvis 0.5.3) that fails with NumPy 1.24 and later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import PurePosixPath
from typing import Any
from unittest.mock import patch

from mmdet import evaluation
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import METRICS
from mmengine.fileio import get_local_path
from pycocotools import mask as mask_utils

from ..annotations.boxes import as_box
from ..annotations.completion import complete_coco, has_area
from ..annotations.objects import coco_object
from ..common.messages import UserError, first_names, warn
from .datasets import CheckedCoco

_Pair = tuple[dict, dict]  # the ground truth and the prediction of an image, from `process`


class NumberedTruth:
    """Mixin of mmdet's COCO metrics, for which it numbers images, annotations and categories.

    docs/training.md says what the evaluators make of other ids. The files that a metric writes
    keep the ids of the annotation file. Categories are matched by name, images by id; without
    `ann_file` each image is compared with the boxes that its dataset read. An object whose area is
    not stated has that of its mask if the metric compares masks, else that of its box.

    Args:
        ann_file: See `CocoMetric`.
        backend_args: See `CocoMetric`.
        **kwargs: As for the metric.

    Raises:
        UserError: If the file cannot be read, or does not list the predicted images or the classes.
    """

    def __init__(
        self, *, ann_file: str | None = None, backend_args: dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(backend_args=backend_args, **kwargs)
        self.ann_file = ann_file
        self._of_file: COCO | None = None
        self._numbers: dict[int | str, int] = {}
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=backend_args) as path:
                self._coco_api = CheckedCoco(path, with_files=False)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Process one batch; see mmdet."""
        super().process(data_batch, data_samples)
        added = self.results[len(self.results) - len(data_samples) :]
        for (truth, _), sample in zip(added, data_samples, strict=True):
            truth['img_path'] = sample.get('img_path') or ''
            if self._coco_api is not None:
                self._check_listed(truth['img_id'], truth['img_path'])

    def _check_listed(self, image_id: int | str, path: str) -> None:
        """Refuse an image that the annotation file does not have, or has under another name."""
        listed = self._coco_api.imgs.get(image_id)
        name = (listed or {}).get('file_name')
        if listed is None or (path and name and _stem(path) != _stem(name)):
            found = f'{name} with the id {image_id!r}' if name else f'no image {image_id!r}'
            raise UserError(
                f'the ann_file of the evaluator, {self.ann_file}, has {found}, but the data loader '
                f'has {path or "one"}; give both the same file. If the loader reads several, leave '
                f'ann_file out of the evaluator'
            )

    def compute_metrics(self, results: list[_Pair]) -> dict[str, float]:
        """Compute the metrics; see mmdet."""
        # In the order of the ids: of equal scores, evaluators put that of the first image first.
        pairs = sorted(results, key=lambda pair: (_rank(pair[0]['img_id']), pair[0]['img_path']))
        by_id = {pair[0]['img_id']: pair for pair in pairs}
        if self._coco_api is None:
            truth = self._truth_of(pairs)
            numbers = list(truth.imgs)
        else:
            self._refuse_doubles(pairs, by_id)
            pairs = list(by_id.values())
            truth = self._of_file = self._of_file or self._truth_of_file()
            numbers = [self._numbers[image] for image in by_id]
        numbered = [
            tuple(part | dict(img_id=number) for part in pair)
            for number, pair in zip(numbers, pairs, strict=True)
        ]
        if self.outfile_prefix is not None:
            self._write(pairs if len(by_id) == len(pairs) else numbered)
        if self.format_only:
            return {}
        replaced = dict(_coco_api=truth, cat_ids=None, img_ids=None, outfile_prefix=None)
        with patch.multiple(self, **replaced):
            return super().compute_metrics(numbered)

    def _refuse_doubles(self, pairs: Sequence[_Pair], by_id: dict[int | str, _Pair]) -> None:
        for truth, _ in pairs:
            other = by_id[truth['img_id']][0]['img_path']
            if truth['img_path'] != other:
                raise UserError(
                    f'{truth["img_path"]} and {other} have the same id, {truth["img_id"]!r}, and '
                    f'the evaluator cannot tell them apart in its ann_file, {self.ann_file}; leave '
                    f'it out of the evaluator'
                )
        if len(by_id) < len(self._coco_api.imgs):
            warn(
                f'{len(self._coco_api.imgs) - len(by_id)} of {len(self._coco_api.imgs)} images of '
                f'{self.ann_file} were not predicted; their objects count as missed'
            )

    def _write(self, pairs: Sequence[_Pair]) -> None:
        """Write the predictions where the config asks for them, with the ids of the file."""
        ids = None
        if self._coco_api is not None:
            by_name = {item['name']: item['id'] for item in self._coco_api.dataset['categories']}
            ids = [by_name[name] for name in self.dataset_meta['classes']]
        unchanged = dict(_coco_api=self._coco_api, img_ids=self.img_ids)  # mmdet sets both
        with patch.multiple(self, format_only=True, cat_ids=ids, **unchanged):
            super().compute_metrics(pairs)

    def _truth_of(self, pairs: Sequence[_Pair]) -> COCO:
        """Collect the boxes that came with the images."""
        images, annotations = [], []
        for number, (truth, _) in enumerate(pairs, 1):
            size = {side: truth[side] for side in ('width', 'height')}
            images.append(dict(size, id=number, file_name=truth['img_path']))
            for item in truth['anns']:
                x1, y1, x2, y2 = map(float, item['bbox'])
                annotation = dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=int(item['bbox_label']) + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    iscrowd=int(item.get('ignore_flag', 0)),
                )
                if item.get('mask'):
                    annotation['segmentation'] = _as_text(item['mask'])
                annotations.append(annotation)
        return self._completed(images, annotations, self.dataset_meta['classes'])

    def _truth_of_file(self) -> COCO:
        """Number what the annotation file has, categories in the order of the labels."""
        data, images = self._coco_api.dataset, self._coco_api.imgs
        by_name = {item['name']: item['id'] for item in data['categories']}
        classes = self.dataset_meta['classes']
        missing = [name for name in classes if name not in by_name]
        if missing:
            raise UserError(
                f'{self.ann_file} has no category {first_names(map(repr, missing))}, which is a '
                f'class of the data loader; give both the same file'
            )
        names = dict.fromkeys([*classes, *by_name])
        categories = {by_name[name]: number for number, name in enumerate(names, 1)}
        self._numbers = {image: n for n, image in enumerate(sorted(images, key=_rank), 1)}
        annotations = [
            item
            | dict(
                image_id=self._numbers[item['image_id']],
                category_id=categories[item['category_id']],
                bbox=box,
            )
            for item in data.get('annotations', [])
            if item['image_id'] in images and item['category_id'] in categories
            if (box := _box_of(item, images[item['image_id']]))
        ]
        numbered = [images[image] | dict(id=number) for image, number in self._numbers.items()]
        return self._completed(numbered, annotations, names)

    def _completed(self, images: list[dict], annotations: list[dict], names: Iterable[str]) -> COCO:
        categories = [dict(id=number, name=name) for number, name in enumerate(names, 1)]
        coco = coco_of(dict(images=images, annotations=annotations, categories=categories))
        _fill_areas(coco, with_masks='segm' in self.metrics)
        return coco


class CompletedTruth:
    """Mixin of mmdet's metrics whose image and category ids belong to a published dataset.

    Only what nothing refers to is completed: the ids of annotations, areas and `iscrowd`.

    Args:
        **kwargs: As for the metric.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for api in vars(self).values():
            if isinstance(api, COCO):
                complete_coco(api.dataset)
                _fill_areas(api)
                api.createIndex()


def _register(mixin: type, names: Iterable[str]) -> dict[str, str]:
    """Register metrics of mmdet with a mixin; return the new names by the old."""
    own = {}
    for name in names:
        if kind := getattr(evaluation, name, None):  # official releases lack FasterCocoMetric
            own[name] = f'{mixin.__name__}{name}'
            METRICS.register_module(name=own[name], module=type(own[name], (mixin, kind), {}))
    return own


OWN_METRICS = _register(
    NumberedTruth, ('CocoOccludedSeparatedMetric', 'FasterCocoMetric', 'OVCocoMetric')
) | _register(CompletedTruth, ('DODCocoMetric', 'gRefCOCOMetric', 'RefExpMetric'))


def _fill_areas(coco: COCO, *, with_masks: bool = False) -> None:
    """Give objects without an area that of their mask, or of their box, in place."""
    for item in coco.dataset['annotations']:
        if has_area(item):
            continue
        if with_masks and item.get('segmentation'):
            item['area'] = float(mask_utils.area(coco.annToRLE(item)))
        elif 'bbox' in item:
            item['area'] = item['bbox'][2] * item['bbox'][3]


def coco_of(content: dict) -> COCO:
    """Return images, annotations and categories as pycocotools' object."""
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def _rank(image_id: float | str) -> tuple[bool, float | str]:
    return isinstance(image_id, str), image_id


def _stem(path: str) -> str:
    return PurePosixPath(path.replace('\\', '/')).stem


def _box_of(annotation: dict, image: dict) -> list[float] | None:
    """Return the box, xywh, of an object or else of its outline, as the datasets read it."""
    box = as_box(annotation.get('bbox'))
    if annotation.get('segmentation') and not (box and any(box)) and 'width' in image:
        xyxy = coco_object(annotation, {}, image).xyxy
        box = xyxy and (*xyxy[:2], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1])
    return list(box) if box and all(map(isfinite, box)) else None


def _as_text(mask: Any) -> Any:
    """Return run lengths whose counts are text, not bytes."""
    is_bytes = isinstance(mask, dict) and isinstance(mask['counts'], bytes)
    return mask | dict(counts=mask['counts'].decode()) if is_bytes else mask
