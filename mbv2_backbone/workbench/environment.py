"""Package versions and CPU name, recorded with every measurement."""

from __future__ import annotations

import importlib.metadata
import platform

import torch

from .. import __version__

# Import name and the distributions that may provide it.
_DISTRIBUTIONS = {
    'torchvision': ('torchvision',),
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'timm': ('timm',),
    'opencv': ('opencv-python', 'opencv-python-headless'),
    'onnxruntime': ('onnxruntime',),
    'openvino': ('openvino',),
}


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the packages that measurements compare."""
    found = dict(
        mbv2_backbone=__version__, python=platform.python_version(), torch=torch.__version__
    )
    for name, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                version = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            found[name] = version if distribution == name else f'{version} ({distribution})'
            break
    return found


def cpu_name() -> str:
    """Return the name of the CPU as the system reports it."""
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            names = [line.split(':', 1)[1].strip() for line in file if 'model name' in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
