"""A small user dataset."""

import json

from helpers.fault import jpeg, smooth_pixels

CLASSES = ('café au lait', "O'Neil")


def write_own_dataset(root, names='abcdefgh', split='all'):
    """Write eight images of two classes, and one COCO file."""
    for folder in ('annotations', 'pictures'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index, name in enumerate(names):
        (root / f'pictures/{name}.jpg').write_bytes(jpeg(smooth_pixels(96, 72, seed=index)))
        images.append(dict(id=index, file_name=f'{name}.jpg', width=96, height=72))
        for i in range(2):
            box = [10 + 20 * i, 10, 30 + index, 40]
            annotations.append(
                dict(id=len(annotations), image_id=index, category_id=i, bbox=box, area=1200)
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES)]
    data = dict(images=images, annotations=annotations, categories=categories)
    (root / f'annotations/{split}.json').write_text(json.dumps(data))
