"""NMS as ONNX nodes: from raw scores and boxes to final detections."""

from __future__ import annotations

import numpy as np

from ...deploy.metadata import Detection


def num_final_boxes(rules: Detection) -> int:
    """Return how many rows the final boxes have; unused ones have label -1 and score 0."""
    pairs = sum(rules.level_sizes) * len(rules.classes)
    return min(rules.max_per_img, pairs) if rules.max_per_img > 0 else pairs


def least_score(rules: Detection) -> float:
    """Return the threshold of an NMS that keeps scores from it on; the head's are above it."""
    above = np.nextafter(np.float32(rules.score_thr), np.float32(2))
    return float(max(above, np.finfo(np.float32).tiny))


def suppression_nodes(rules: Detection, input_size: tuple[int, int]) -> str:
    """Return the nodes from `raw_scores` and `raw_boxes` to `boxes`, `scores` and `labels`.

    They do what the head's `predict_by_feat` does: keep the best pairs of each level, drop boxes
    without area, apply NMS per class, keep the best boxes of each image. With `clip_after_nms`,
    boxes are clipped to `input_size` `(height, width)` after NMS. With N images, P priors, C
    classes, S selected boxes of the whole batch and K rows of the result:

    raw_scores (N, P, C), raw_boxes (N, P, 4) -> boxes (N, K, 4), scores (N, K), labels (N, K).

    Returns:
        Nodes in ONNX's text form.
    """
    limit = num_final_boxes(rules)
    return f"""
    axis_one = Constant<value_ints: ints = [1]>()
    axis_two = Constant<value_ints: ints = [2]>()
    nought = Constant<value_float: float = 0.0>()
    {_limit_levels(rules)}
    {_drop_small(rules)}
    by_class = Transpose<perm: ints = [0, 2, 1]>(large_scores)
    {_clip(rules, input_size)}
    num_wanted = Constant<value_int: int = {min(limit, sum(rules.level_sizes))}>()
    per_class = Add(num_wanted, num_lost)
    iou_thr = Constant<value_float: float = {_number(rules.iou_thr)}>()
    score_thr = Constant<value_float: float = {_number(max(rules.score_thr, 0))}>()
    selected = NonMaxSuppression(raw_boxes, by_class, per_class, iou_thr, score_thr)
    selected_scores = GatherND(clipped_scores, selected)

    zero = Constant<value_int: int = 0>()
    one = Constant<value_int: int = 1>()
    batch_shape = Shape<start: int = 0, end: int = 1>(raw_boxes)
    num_images = Squeeze(batch_shape)
    image_row = Range(zero, num_images, one)
    images = Unsqueeze(image_row, axis_one)
    thirds = Constant<value_ints: ints = [1, 1, 1]>()
    image_of, label_of, prior_of = Split<axis: int = 1>(selected, thirds)
    image_of_row = Transpose(image_of)
    is_own = Equal(images, image_of_row)
    own_scores = Where(is_own, selected_scores, nought)

    filling = Constant<value_ints: ints = [0, 0, 0, {limit}]>()
    filled_scores = Pad(own_scores, filling)
    limit = Constant<value_ints: ints = [{limit}]>()
    scores, rows = TopK<axis: int = 1>(filled_scores, limit)
    is_found = Greater(scores, nought)
    flat = Constant<value_ints: ints = [-1]>()
    filling_row = Constant<value_ints: ints = [0, {limit}]>()
    flat_labels = Reshape(label_of, flat)
    flat_priors = Reshape(prior_of, flat)
    filled_labels = Pad(flat_labels, filling_row)
    filled_priors = Pad(flat_priors, filling_row)
    found_labels = Gather(filled_labels, rows)
    found_priors = Gather(filled_priors, rows)
    no_label = Constant<value_int: int = -1>()
    labels = Where(is_found, found_labels, no_label)
    prior_columns = Unsqueeze(found_priors, axis_two)
    found_boxes = GatherND<batch_dims: int = 1>(clipped_boxes, prior_columns)
    is_found_column = Unsqueeze(is_found, axis_two)
    boxes = Where(is_found_column, found_boxes, nought)
    """


def _limit_levels(rules: Detection) -> str:
    """Set scores that are not among the best `nms_pre` pairs of their level to 0."""
    sizes, classes = rules.level_sizes, len(rules.classes)
    if not 0 < rules.nms_pre < max(sizes) * classes:
        return 'limited_scores = Identity(raw_scores)'
    lines = [
        f'level_sizes = Constant<value_ints: ints = {list(sizes)}>()',
        'levels_shape = Constant<value_ints: ints = [0, -1]>()',
        f'nms_pre = Constant<value_ints: ints = [{rules.nms_pre}]>()',
        f'worst_at = Constant<value_int: int = {rules.nms_pre - 1}>()',
        f'{_names("level", sizes)} = Split<axis: int = 1>(raw_scores, level_sizes)',
    ]
    for i, size in enumerate(sizes):
        if size * classes <= rules.nms_pre:
            lines.append(f'limited{i} = Identity(level{i})')
            continue
        lines += [
            f'pairs{i} = Reshape(level{i}, levels_shape)',
            f'best{i}, best_at{i} = TopK<axis: int = 1>(pairs{i}, nms_pre)',
            f'worst{i} = Gather<axis: int = 1>(best{i}, worst_at)',
            f'worst_column{i} = Unsqueeze(worst{i}, axis_one)',
            f'least{i} = Unsqueeze(worst_column{i}, axis_two)',
            f'is_in{i} = GreaterOrEqual(level{i}, least{i})',
            f'limited{i} = Where(is_in{i}, level{i}, nought)',
        ]
    lines.append(f'limited_scores = Concat<axis: int = 1>({_names("limited", sizes)})')
    return '\n    '.join(lines)


def _drop_small(rules: Detection) -> str:
    """Set the scores of boxes that are too small to 0."""
    if rules.min_bbox_size < 0:
        return 'large_scores = Identity(limited_scores)'
    return f"""halves = Constant<value_ints: ints = [2, 2]>()
    upper_left, lower_right = Split<axis: int = 2>(raw_boxes, halves)
    sides = Sub(lower_right, upper_left)
    shorter_side = ReduceMin<keepdims: int = 1>(sides, axis_two)
    least_side = Constant<value_float: float = {_number(rules.min_bbox_size)}>()
    is_large = Greater(shorter_side, least_side)
    large_scores = Where(is_large, limited_scores, nought)"""


def _clip(rules: Detection, input_size: tuple[int, int]) -> str:
    """Clip the boxes that NMS gives, and set the scores of those left without area to 0.

    As many more have to be chosen, so that none of them takes the place of another box.
    """
    if not rules.clip_after_nms:
        return """clipped_boxes = Identity(raw_boxes)
    clipped_scores = Identity(by_class)
    num_lost = Constant<value_int: int = 0>()"""
    height, width = (float(side) for side in input_size)
    return f"""far = Constant<value_floats: floats = [{width}, {height}, {width}, {height}]>()
    not_negative = Max(raw_boxes, nought)
    clipped_boxes = Min(not_negative, far)
    corners = Constant<value_ints: ints = [2, 2]>()
    first_corner, last_corner = Split<axis: int = 2>(clipped_boxes, corners)
    clipped_sides = Sub(last_corner, first_corner)
    clipped_side = ReduceMin<keepdims: int = 0>(clipped_sides, axis_two)
    side_of_class = Unsqueeze(clipped_side, axis_one)
    has_area = Greater(side_of_class, nought)
    clipped_scores = Where(has_area, by_class, nought)
    is_lost = Not(has_area)
    each_lost = Cast<to: int = 7>(is_lost)
    lost_of_image = ReduceSum<keepdims: int = 0>(each_lost, axis_two)
    num_lost = ReduceMax<keepdims: int = 0>(lost_of_image)"""


def _names(stem: str, sizes: tuple[int, ...]) -> str:
    return ', '.join(f'{stem}{i}' for i in range(len(sizes)))


def _number(value: float) -> str:
    return f'{value:.9e}'
