"""mmdet's COCO and VOC datasets that drop invalid boxes and name them."""

from __future__ import annotations

import os.path as osp
from collections import Counter
from typing import Any

from mmdet.datasets import CocoDataset, VOCDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS
from mmengine.fileio import get

from ..annotations.boxes import (
    Object,
    as_box,
    begins_at_zero,
    check_coco,
    images_listed_twice,
    read_voc,
)
from ..annotations.completion import complete_coco
from ..annotations.images import read_image_facts
from ..annotations.objects import coco_object, refuse_corners
from ..common.messages import UserError, first_lines, first_names, warn
from .checked import MAX_LOGGED, CheckedDatasetMixin, counted, warn_of_other_classes


class CheckedCoco(COCO):
    """pycocotools' reader, which checks and completes the file before it builds its tables.

    Args:
        path: The file.
        with_files: See `check_coco`.

    Attributes:
        remarks: What other tools would misread in the file, see `complete_coco`.
    """

    def __init__(self, path: str, *, with_files: bool = True) -> None:
        self.with_files = with_files
        try:
            super().__init__(path)
        except UserError as error:
            raise UserError(f'{path} {error}') from error
        except (ValueError, AssertionError, RecursionError) as error:
            raise UserError(f'{path} is not a COCO JSON file: {error}') from error

    def createIndex(self) -> None:  # noqa: N802
        """Build the tables; see pycocotools."""
        check_coco(self.dataset, with_files=self.with_files)
        if self.with_files:
            refuse_corners(self.dataset)
            _refuse_images_listed_twice(self.dataset['images'])
        self.remarks = complete_coco(self.dataset)
        super().createIndex()


def _refuse_images_listed_twice(images: list[dict]) -> None:
    doubles = images_listed_twice(images)
    if doubles:
        raise UserError(
            f'lists {len(doubles)} image(s) several times, as Label Studio does for each '
            f'annotator: {first_names(doubles)}; `tools/data.py convert IN OUT --to coco` '
            f'writes each once, with the objects of all its entries'
        )


@DATASETS.register_module()
class CheckedCocoDataset(CheckedDatasetMixin, CocoDataset):
    """mmdet's `CocoDataset` without zero-area, inverted, outside and non-finite boxes.

    A box whose `area` is missing or 0 gets its width times its height, where mmdet would fail or
    drop the box silently.

    Raises:
        UserError: If the file cannot be read; if an id or image occurs twice; if it lacks some of
            the classes or lists them in a different order, for which mmdet would assign labels of
            other classes.
    """

    def COCOAPI(self, path: str) -> COCO:  # noqa: N802
        """Read the file; the method name is mmdet's."""
        coco = CheckedCoco(path)
        self.remarks = coco.remarks
        annotations = coco.dataset.get('annotations', [])
        lost = [item['image_id'] for item in annotations if item['image_id'] not in coco.imgs]
        if lost:
            warn(
                f'{self.ann_file}: {len(lost)} annotation(s) for images that it does not list are '
                f'skipped, such as image_id {lost[0]!r}; add these images or remove the annotations'
            )
        classes = list(self.metainfo['classes'])
        names = [item['name'] for item in coco.dataset['categories']]
        missing = [name for name in classes if name not in names]
        if missing:
            raise UserError(
                f'{self.ann_file} has no category {", ".join(map(repr, missing[:6]))}; its '
                f'categories are {", ".join(names)}. Set `classes` in the config to the ones you '
                f'want'
            )
        ordered = [name for name in names if name in classes]
        if ordered != classes:
            raise UserError(
                f'{self.ann_file} lists its categories in a different order than the config, and '
                f'mmdet numbers them in file order; set `classes = {tuple(ordered)}` in the config'
            )
        return coco

    def load_data_list(self) -> list[dict]:
        """Read the annotation file; see mmdet."""
        self._other_classes: Counter[str] = Counter()
        data_list = super().load_data_list()
        warn_of_other_classes(self.ann_file, self._other_classes)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict | list[dict]:
        """Parse one image and its annotations; see mmdet."""
        image = raw_data_info['raw_img_info']
        sound = []
        for annotation in raw_data_info['raw_ann_info']:
            category = annotation['category_id']
            if category in self.cat2label:
                if self._has_sound_box(annotation, image):
                    sound.append(annotation)
            elif category in self.coco.cats:
                self._other_classes[self.coco.cats[category]['name']] += 1
            else:
                box = (image['file_name'], annotation.get('bbox'), f'unknown category {category!r}')
                self.dropped_boxes.append(box)
        return super().parse_data_info(dict(raw_ann_info=sound, raw_img_info=image))

    def _has_sound_box(self, annotation: dict, image: dict) -> bool:
        """Complete an annotation as mmdet needs it, its box clipped, in place; or drop it."""
        item = coco_object(annotation, {}, image)
        box = self._usable(image['file_name'], item, (image['width'], image['height']))
        if not box:
            return False
        x1, y1, x2, y2 = box
        area = as_box([annotation.get('area', 0)] * 4)
        annotation |= dict(
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=area[0] if area and area[0] > 0 else (x2 - x1) * (y2 - y1),
            iscrowd=int(item.is_ignored),
            ignore=0,  # mmdet would leave it out, uncounted
        )
        return True


@DATASETS.register_module()
class CheckedVOCDataset(CheckedDatasetMixin, VOCDataset):
    """mmdet's `VOCDataset` without zero-area, inverted, outside and non-finite boxes.

    If an XML file does not state the size of its image, it is read from the image.

    Args:
        counts_from: The number of the first pixel in the files: 1 in VOC; 0 in those of CVAT,
            Datumaro and Label Studio, whose corners are edges.
        **kwargs: As for `VOCDataset`. Give `metainfo=dict(classes=...)` for classes other than
            Pascal's.

    Raises:
        UserError: If an XML file is missing or cannot be read, or if the files contain objects,
            but none of the classes.
    """

    def __init__(self, *, counts_from: int = 1, **kwargs: Any) -> None:
        self.counts_from = counts_from
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the XML files; see mmdet. Objects of other classes are counted in the log."""
        self._other_classes: Counter[str] = Counter()
        self._broken_files: list[str] = []
        self._at_zero: list[str] = []
        data_list = super().load_data_list()
        if self._broken_files:
            shown = first_lines(self._broken_files, MAX_LOGGED)
            raise UserError(
                f'{len(self._broken_files)} annotation file(s) of {self.ann_file} cannot be read; '
                f'fix them or remove them from that list:\n' + '\n'.join(shown)
            )
        others = self._other_classes.most_common(20)
        if others and not any(info['instances'] for info in data_list):
            raise UserError(
                f'no object of {self.ann_file} is of the classes '
                f'{", ".join(self.metainfo["classes"])}; the files name {counted(others)}. Set '
                f'`classes` in the config to the ones you want'
            )
        warn_of_other_classes(self.ann_file, self._other_classes)
        if self._at_zero and self.counts_from:
            warn(
                f'{self.ann_file}: {len(self._at_zero)} box(es) begin at 0, as in '
                f'{self._at_zero[0]}, but VOC counts from 1; if these files count from 0, set '
                f'`counts_from=0` in the dataset, which moves all boxes by a pixel'
            )
        return self._each_once(data_list)

    def _each_once(self, data_list: list[dict]) -> list[dict]:
        counts = Counter(info['img_id'] for info in data_list)
        doubles = [name for name, count in counts.items() if count > 1]
        if doubles:
            warn(
                f'{self.ann_file} lists images twice; each is used once: {", ".join(doubles[:10])}'
            )
        return list({info['img_id']: info for info in data_list}.values())

    def parse_data_info(self, img_info: dict) -> dict | list[dict]:
        """Parse one XML file; see mmdet."""
        path = osp.join(self.sub_data_root, img_info['file_name'])
        info = dict(
            img_path=path, img_id=img_info['img_id'], xml_path=img_info['xml_path'], instances=[]
        )
        try:
            data = get(img_info['xml_path'], backend_args=self.backend_args)
            wh, objects = read_voc(data, counts_from=self.counts_from)
        except (OSError, UserError) as error:
            reason = 'does not exist' if isinstance(error, FileNotFoundError) else error
            self._broken_files.append(f'{img_info["xml_path"]} {reason}')
            return info
        if wh is None:
            facts = read_image_facts(path)
            wh = facts.seen_wh
            if facts.error:
                self._broken_files.append(
                    f'{img_info["xml_path"]} has no image size, and the image {facts.error}'
                )
        info['width'], info['height'] = wh
        for item in objects:
            file = osp.basename(img_info['xml_path'])
            if begins_at_zero(item.xyxy and as_box(item.stored)):
                self._at_zero.append(file)
            if item.name in self.cat2label:
                info['instances'] += self._instances(file, item, wh)
            elif not item.name:
                self.dropped_boxes.append((file, item.stored, 'no class name'))
            else:
                self._other_classes[item.name] += 1
        return info

    def _instances(self, file: str, item: Object, wh: tuple[int, int]) -> list[dict]:
        """Return mmdet's instances for an object; none if its box is invalid."""
        box = self._usable(file, item, wh)
        if not box:
            return []
        x1, y1, x2, y2 = box
        is_small = min(x2 - x1, y2 - y1) < (self.bbox_min_size or 0)
        return [
            dict(
                bbox=[x1, y1, x2, y2],
                bbox_label=self.cat2label[item.name],
                ignore_flag=int(item.is_ignored or is_small),
            )
        ]
