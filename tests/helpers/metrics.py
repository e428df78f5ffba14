"""COCO annotations, and detections to evaluate."""

import json

import numpy as np
import torch


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
