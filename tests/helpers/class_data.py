"""Photos sorted into folders by class."""

import cv2
import numpy as np

COLOURS = dict(blue=(200, 30, 30), green=(30, 200, 30), red=(30, 30, 200))  # BGR


def write_classes(root, counts=None, splits=('train', 'val'), size=(40, 48)):
    """Write images of noise around a colour into `root/SPLIT/CLASS`, and return the root."""
    for i, split in enumerate(splits):
        for name, count in (counts or dict.fromkeys(COLOURS, 4)).items():
            folder = root / split / name
            folder.mkdir(parents=True)
            rng = np.random.default_rng([i, *name.encode()])
            for k in range(count):
                noise = rng.integers(-25, 26, (*size, 3))
                pixels = (np.array(COLOURS.get(name, (128,) * 3)) + noise).clip(0, 255)
                cv2.imwrite(str(folder / f'{k}.jpg'), pixels.astype(np.uint8))
    return root
