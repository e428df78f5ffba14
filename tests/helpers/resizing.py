"""TensorFlow 1's bilinear rule, one pixel at a time."""

import numpy as np


def slow_legacy_resize(image, size_hw):
    """Resize `(H, W, C)` as `tf.image.resize_bilinear` of TensorFlow 1 does by default."""
    height, width = image.shape[:2]
    result = np.zeros((*size_hw, image.shape[2]), np.float64)
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            y, x = row * height / size_hw[0], column * width / size_hw[1]
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, along = y - top, x - left
            upper = image[top, left] * (1 - along) + image[top, right] * along
            lower = image[bottom, left] * (1 - along) + image[bottom, right] * along
            result[row, column] = upper * (1 - down) + lower * down
    return result
