"""Write the set of `helpers.layouts` with the real exporters of labelling tools.

tests/data/exporters/README.md has the versions. With the tool of a name installed:
PYTHONPATH=tests python -m helpers.exporters NAME OUT
"""

import json
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import numpy as np
from helpers.layouts import CLASSES, NAMES, SIZE_WH, draw, truth

ALL = [(split, name) for split, names in NAMES.items() for name in names]


def datumaro(out, temporary):
    from datumaro.components.annotation import Bbox
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image as Media

    items, ids = [], count(1)
    for split, name in ALL:
        path = temporary / f'{name}.jpg'
        draw(name, path)
        boxes = [
            Bbox(x1, y1, x2 - x1, y2 - y1, label=CLASSES.index(label), id=next(ids))
            for label, x1, y1, x2, y2 in truth(name)
        ]
        items.append(
            DatasetItem(name, subset=split, media=Media.from_file(str(path)), annotations=boxes)
        )
    dataset = Dataset.from_iterable(items, categories=list(CLASSES))
    for kind in ('coco_instances', 'voc_detection', 'yolo', 'yolo_ultralytics'):
        dataset.export(str(out / f'datumaro_{kind}'), kind, save_media=True)


def supervision(out, temporary):
    import supervision as sv

    def dataset(split):
        folder = temporary / split
        annotations = {}
        for name in NAMES[split]:
            draw(name, folder / f'{name}.jpg')
            annotations[str(folder / f'{name}.jpg')] = sv.Detections(
                xyxy=np.array([box for _, *box in truth(name)], float),
                class_id=np.array([CLASSES.index(label) for label, *_ in truth(name)]),
            )
        return sv.DetectionDataset(list(CLASSES), list(annotations), annotations)

    for split, folder in (('train', 'train'), ('val', 'valid')):
        data, coco, voc, yolo = (
            dataset(split),
            *(out / f'roboflow_{k}' for k in ('coco', 'voc', 'yolo')),
        )
        data.as_coco(str(coco / folder), str(coco / folder / '_annotations.coco.json'))
        data.as_pascal_voc(str(voc / folder), str(voc / folder))
        place = yolo / folder
        data.as_yolo(str(place / 'images'), str(place / 'labels'), str(yolo / 'data.yaml'))


def label_studio(out, temporary):
    from label_studio_sdk.converter import Converter

    handler = partial(SimpleHTTPRequestHandler, directory=temporary)
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    config = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
        '<Label value="ball"/><Label value="cube"/></RectangleLabels></View>'
    )
    tasks = []
    for number, (_, name) in enumerate(ALL, 1):
        draw(name, temporary / f'{name}.jpg')
        results = []
        for i, (label, x1, y1, x2, y2) in enumerate(truth(name)):
            w, h = SIZE_WH
            value = dict(
                x=100 * x1 / w, y=100 * y1 / h, width=100 * (x2 - x1) / w,
                height=100 * (y2 - y1) / h, rotation=0, rectanglelabels=[label],
            )  # fmt: skip
            results.append(
                dict(id=f'r{i}', type='rectanglelabels', from_name='label', to_name='image',
                     original_width=w, original_height=h, image_rotation=0, value=value)
            )  # fmt: skip
        tasks.append(
            dict(id=number, data=dict(image=f'{address}/{name}.jpg'),
                 annotations=[dict(id=number, completed_by=1, result=results, was_cancelled=False)])
        )  # fmt: skip
    source = temporary / 'tasks.json'
    source.write_text(json.dumps(tasks))
    converter = Converter(config, project_dir=str(temporary), download_resources=True)
    converter.convert_to_coco(str(source), str(out / 'label_studio_coco'), is_dir=False)
    converter.convert_to_voc(str(source), str(out / 'label_studio_voc'), is_dir=False)
    converter.convert_to_yolo(str(source), str(out / 'label_studio_yolo'), is_dir=False)


def labelme(out, temporary):
    from labelme._label_file import LabelFile

    for _, name in ALL:
        folder = out / 'labelme'
        draw(name, folder / f'{name}.jpg')
        shapes = [
            dict(label=label, points=[[x1, y1], [x2, y2]], shape_type='rectangle', flags={},
                 description='', group_id=None, mask=None)
            for label, x1, y1, x2, y2 in truth(name)
        ]  # fmt: skip
        LabelFile().save(
            filename=str(folder / f'{name}.json'), shapes=shapes, image_path=f'{name}.jpg',
            image_height=SIZE_WH[1], image_width=SIZE_WH[0],
        )  # fmt: skip


def supervisely(out, temporary):
    import supervisely as sly

    root = str(temporary / 'project')
    project = sly.Project(root, sly.OpenMode.CREATE)
    classes = [sly.ObjClass(name, sly.Rectangle) for name in CLASSES]
    project.set_meta(sly.ProjectMeta(obj_classes=classes))
    for split, names in NAMES.items():
        dataset = project.create_dataset(split)
        for name in names:
            image = temporary / f'{name}.jpg'
            draw(name, image)
            labels = [
                sly.Label(sly.Rectangle(y1, x1, y2 - 1, x2 - 1), classes[CLASSES.index(label)])
                for label, x1, y1, x2, y2 in truth(name)
            ]
            annotation = sly.Annotation(SIZE_WH[::-1], labels)
            dataset.add_item_file(image.name, str(image), ann=annotation)
    sly.convert.to_coco(
        sly.Project(root, sly.OpenMode.READ), str(out / 'supervisely_coco'), copy_images=True
    )


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        globals()[sys.argv[1]](Path(sys.argv[2]), Path(folder))
