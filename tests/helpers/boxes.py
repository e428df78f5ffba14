"""Random boxes, and their IoU in plain Python."""

import torch


def boxes(*shape, size=40):
    corner = torch.rand(*shape, 2) * 60
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2) * size], -1)


def slow_iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return w * h / (sum(area) - w * h)
