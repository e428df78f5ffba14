"""mmdet's COCO and VOC datasets that drop boxes no loss can take, and say which."""

from __future__ import annotations

import logging
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from math import isfinite
from xml.etree.ElementTree import Element, ElementTree

from mmdet.datasets import CocoDataset, VOCDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path, load
from mmengine.logging import print_log

from ..errors import UserError

MAX_NAMED = 50


def box_problem(xyxy: Sequence[float], image_wh: tuple[int, int] | None = None) -> str | None:
    """Tell why a box cannot be trained on.

    Args:
        xyxy: Corners in pixels, right and lower edge excluded.
        image_wh: Width and height of the image, if known.

    Returns:
        `not finite`, `inverted`, `zero area`, `outside the image`, or `None` if the box is sound.

    Example:
        >>> box_problem((4, 4, 4, 9)), box_problem((4, 4, 8, 9))
        ('zero area', None)
    """
    if not all(isfinite(value) for value in xyxy):
        return 'not finite'
    x1, y1, x2, y2 = xyxy
    if x2 < x1 or y2 < y1:
        return 'inverted'
    if x2 == x1 or y2 == y1:
        return 'zero area'
    if x2 <= 0 or y2 <= 0:
        return 'outside the image'
    if image_wh is not None and (x1 >= image_wh[0] or y1 >= image_wh[1]):
        return 'outside the image'
    return None


class BoxCheckMixin:
    """Collects the boxes that were dropped while a dataset was read and logs them once.

    Attributes:
        dropped_boxes: `(file, box, problem)` of each dropped box; boxes as they stand in the
            file: xywh for COCO, xyxy for VOC.
    """

    def load_data_list(self) -> list[dict]:
        """Read the annotations, then log what was dropped."""
        self.dropped_boxes: list[tuple[str, tuple[float, ...], str]] = []
        data_list = super().load_data_list()
        if self.dropped_boxes:
            print_log(self._describe_dropped(), logger='current', level=logging.WARNING)
        return data_list

    def _describe_dropped(self) -> str:
        reasons = Counter(problem for _, _, problem in self.dropped_boxes)
        lines = [
            f'Dropped {len(self.dropped_boxes)} box(es) of {self.ann_file} that cannot be trained '
            f'on: {", ".join(f"{count} {reason}" for reason, count in reasons.items())}.'
        ]
        lines += [
            f'  {file}: {tuple(box)} {problem}'
            for file, box, problem in self.dropped_boxes[:MAX_NAMED]
        ]
        if len(self.dropped_boxes) > MAX_NAMED:
            lines.append(f'  and {len(self.dropped_boxes) - MAX_NAMED} more')
        return '\n'.join(lines)


@DATASETS.register_module()
class CheckedCocoDataset(BoxCheckMixin, CocoDataset):
    """mmdet's `CocoDataset` without zero-area, inverted, outside and non-finite boxes.

    A box whose `area` is missing or 0 gets its width times its height, where mmdet would fail or
    drop the box without a word.

    Raises:
        UserError: If the annotation file does not have all the classes, which mmdet answers with
            labels that belong to other classes.
    """

    def load_data_list(self) -> list[dict]:
        """Read the annotation file; see mmdet."""
        data_list = super().load_data_list()
        classes = self.metainfo['classes']
        if len(self.cat_ids) != len(classes):
            with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
                names = [item['name'] for item in load(path)['categories']]
            missing = [name for name in classes if name not in names]
            raise UserError(
                f'{self.ann_file} has no category {", ".join(map(repr, missing[:6]))}; its '
                f'categories are {", ".join(names)}. Set `classes` in the config to those that '
                f'are meant'
            )
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict | list[dict]:
        """Parse one image and its annotations; see mmdet."""
        image = raw_data_info['raw_img_info']
        sound = []
        for annotation in raw_data_info['raw_ann_info']:
            x, y, w, h = (float(value) for value in annotation['bbox'])
            problem = box_problem((x, y, x + w, y + h), (image['width'], image['height']))
            if problem is None:
                if not annotation.get('area', 0) > 0:
                    annotation['area'] = w * h
                sound.append(annotation)
            elif not annotation.get('ignore', False):
                self.dropped_boxes.append((image['file_name'], (x, y, w, h), problem))
        return super().parse_data_info(
            dict(raw_ann_info=sound, raw_img_info=raw_data_info['raw_img_info'])
        )


@DATASETS.register_module()
class CheckedVOCDataset(BoxCheckMixin, VOCDataset):
    """mmdet's `VOCDataset` without zero-area, inverted, outside and non-finite boxes.

    Args:
        **kwargs: As for `VOCDataset`. Give `metainfo=dict(classes=...)` for classes other than
            Pascal's.

    Raises:
        UserError: If objects are named in the files, but none is of the classes.
    """

    def load_data_list(self) -> list[dict]:
        """Read the XML files; see mmdet. Objects of other classes are counted in the log."""
        self._other_classes: Counter[str] = Counter()
        data_list = super().load_data_list()
        others = ', '.join(f'{name} ({n})' for name, n in self._other_classes.most_common(20))
        if others and not any(info['instances'] for info in data_list):
            raise UserError(
                f'no object of {self.ann_file} is of the classes '
                f'{", ".join(self.metainfo["classes"])}; the files name {others}. Set `classes` '
                f'in the config to those that are meant'
            )
        if others:
            print_log(
                f'{self.ann_file}: left out objects of other classes: {others}',
                logger='current',
                level=logging.WARNING,
            )
        return data_list

    def parse_data_info(self, img_info: dict) -> dict | list[dict]:
        """Parse one XML file; see mmdet."""
        self._xml_name = osp.basename(img_info['xml_path'])
        return super().parse_data_info(img_info)

    def _parse_instance_info(self, raw_ann_info: ElementTree, minus_one: bool = True) -> list[dict]:
        root = raw_ann_info.getroot()
        image_wh = _xml_size(root)
        for item in root.findall('object'):
            name = item.findtext('name')
            if name not in self.metainfo['classes']:
                self._other_classes[name] += 1
                continue
            box = tuple(
                float(item.find(f'bndbox/{key}').text) for key in ('xmin', 'ymin', 'xmax', 'ymax')
            )
            # mmdet cuts to whole pixels and, from the second on, counts from 0.
            corners = [int(v) - minus_one if isfinite(v) else v for v in box]
            problem = box_problem(corners, image_wh)
            if problem is not None:
                root.remove(item)
                self.dropped_boxes.append((self._xml_name, box, problem))
        return super()._parse_instance_info(raw_ann_info, minus_one)


def _xml_size(root: Element) -> tuple[int, int] | None:
    """Return width and height from a VOC annotation, or `None` where it says 0 or nothing."""
    width, height = (int(root.findtext(f'size/{key}', '0')) for key in ('width', 'height'))
    return (width, height) if width > 0 and height > 0 else None
