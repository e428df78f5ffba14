"""Where the results of an image are written."""

from __future__ import annotations

import os.path as osp
from pathlib import Path


def result_path(image: str, image_root: str | None, folder: str, suffix: str) -> Path:
    """Return the path of a result, and make its folder.

    Args:
        image: Path of the image.
        image_root: The folders between it and the image are kept, so that images of one name in
            several folders do not overwrite each other. An image outside it gives its name only.
        folder: Where the results go.
        suffix: Of the result, such as `.png`.
    """
    relative = osp.relpath(image, image_root) if image_root else osp.basename(image)
    if relative.startswith(osp.pardir):
        relative = osp.basename(image)
    path = Path(folder, relative).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
