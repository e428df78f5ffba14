"""Plain images, and the pixels of one colour in them."""

import numpy as np

TEAL = (60, 120, 90)  # a colour that no blurred letter has
PLAIN = np.full((100, 200, 3), TEAL[::-1], np.uint8)


def is_colour(pixels, rgb):
    return (pixels == np.array(rgb[::-1])).all(-1)
