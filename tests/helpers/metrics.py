"""COCO annotations, and detections to evaluate."""

import json
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as mask_utils


def draw_coco(folder, seed, *, num_classes=6, num_images=16, detections=120):
    """Return annotations with crowds and empty images, and detections with equal scores.

    Some boxes occur twice; an image has more detections than COCO's mAP uses (100).
    """
    rng = np.random.default_rng(seed)
    annotations, samples = [], []
    for i in range(num_images):
        count = 0 if i % 5 == 0 else int(rng.integers(1, 25))
        upper_left = rng.uniform(0, 400, (count, 2))
        boxes = np.hstack([upper_left, upper_left + np.exp(rng.uniform(1, 6, (count, 2)))])
        boxes[1:2] = boxes[:1]
        labels = rng.integers(0, num_classes - 1, count)  # the last class has no box
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=3 * i + 1,
                    category_id=10 - label,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1) * rng.uniform(0.5, 1),
                    iscrowd=int(rng.random() < 0.15),
                )
            )
        moved = np.repeat(boxes, 3, 0) + rng.normal(0, 4, (3 * count, 4))
        moved[::4] = np.repeat(boxes, 3, 0)[::4]
        noise = np.sort(rng.uniform(0, 500, (detections - 3 * count, 2, 2)), 1).reshape(-1, 4)
        found = np.concatenate([moved, noise])[: 0 if i % 7 == 3 else None]
        found_labels = np.r_[np.repeat(labels, 3), rng.integers(0, num_classes, len(noise))]
        samples.append(
            dict(
                img_id=3 * i + 1,
                ori_shape=(500, 500),
                pred_instances=dict(
                    bboxes=torch.from_numpy(found).float(),
                    scores=torch.from_numpy(rng.random(len(found)).round(2)).float(),
                    labels=torch.from_numpy(found_labels[: len(found)]),
                ),
            )
        )
    images = [dict(id=3 * i + 1, width=500, height=500) for i in range(num_images)]
    categories = [dict(id=10 - i, name=f'class {i}') for i in range(num_classes)]
    path = folder / 'annotations.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return str(path), samples


def evaluate_by(metric, samples, num_classes=6):
    metric.dataset_meta = dict(classes=tuple(f'class {i}' for i in range(num_classes)))
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def near_truth(sample_dataset, found):
    """Write annotations near some of the detections, so that the AP is neither 0 nor 1."""
    rng = np.random.default_rng(0)
    content = json.loads((sample_dataset / 'annotations/val.json').read_text())
    content['annotations'] = rows = []
    for result in found:
        instances = result['pred_instances']
        for i in rng.permutation(len(instances['scores']))[:6]:
            x1, y1, x2, y2 = (float(v) for v in instances['bboxes'][i])
            left, top = np.clip([x1 + rng.normal(), y1 + rng.normal()], 0, 90)
            box = [left, top, min(96 - left, x2 - x1 + 1), min(96 - top, y2 - y1 + 1)]
            category = int(instances['labels'][i]) + 1
            rows.append(
                dict(id=len(rows) + 1, image_id=result['img_id'], category_id=category, bbox=box,
                     area=box[2] * box[3], iscrowd=0)
            )  # fmt: skip
    path = sample_dataset / 'annotations' / 'near.json'
    path.write_text(json.dumps(content))
    return path


def draw_without_ties(folder):
    """Return a sound file, its content, and detections; no two scores are equal."""
    path, samples = draw_coco(folder, 0)
    scores = np.random.default_rng(1).permutation(1 + sum(len(found(s)['scores']) for s in samples))
    for sample in samples:
        count = len(found(sample)['scores'])
        found(sample)['scores'] = torch.from_numpy(scores[:count] / len(scores)).float()
        scores = np.r_[scores[count:], scores[:count]]
    data = json.loads(Path(path).read_text())
    for item in data['annotations']:
        item['area'] = item['bbox'][2] * item['bbox'][3]
    Path(path).write_text(json.dumps(data))
    return path, data, samples


def found(sample):
    return sample['pred_instances']


def save(tmp_path, data, **changes):
    path = tmp_path / 'changed.json'
    path.write_text(json.dumps(data | changes))
    return str(path)


def changed(rows, change):
    return [row | change(n, row) for n, row in enumerate(rows, 1)]


def masks_of_boxes(samples, data):
    """Give detections and objects masks, the lower left half of each box."""

    def outline(x, y, w, h):
        return [[x, y, x, y + h, x + w, y + h]]

    for sample in samples:
        boxes = found(sample)['bboxes'].double().numpy()
        corners = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist()
        found(sample)['masks'] = [
            mask_utils.frPyObjects(outline(*box), 500, 500)[0] for box in corners
        ]
    for item in data['annotations']:
        item['segmentation'] = outline(*item['bbox'])
        item['area'] = float(
            mask_utils.area(mask_utils.frPyObjects(item['segmentation'], 500, 500))[0]
        )
