"""Build and run pipelines of transforms, and draw smooth images for them."""

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS


def build_pipeline(scope, *steps):
    """Build a pipeline from the registry of a toolbox, `mmdet` or `mmseg`."""
    return Compose([TRANSFORMS.build(dict(step, _scope_=scope)) for step in steps])


def smooth_image(height, width, seed=0, periods=(25, 30)):
    """Draw waves in each channel, smooth enough that resampling changes little."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / periods[0] + p) * np.cos(y / periods[1] - p) for p in phase]
    return (127 + 110 * np.stack(waves, -1)).astype(np.uint8)


def run(pipeline, results, seed):
    """Return the results of a pipeline, and the next random number."""
    np.random.seed(seed)
    return pipeline(results), np.random.random()
