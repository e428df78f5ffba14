"""One MobileNetV2 for all of OpenMMLab.

Importing this package makes mmcv usable where its compiled extension is missing and registers
`MobileNetV2Backbone` in mmengine's root registry. Neither mmdet nor mmseg is imported; the heads
are registered by importing `mbv2_backbone.det` and `mbv2_backbone.seg`.
"""

from importlib.util import find_spec as _find_spec

from .common.own_configs import config_path

__version__ = '0.1.0'
__all__ = ['MobileNetV2Backbone', '__version__', 'config_path']

# The package imports without the toolboxes: an exported model needs none of them.
if all(_find_spec(name) for name in ('torch', 'mmengine', 'mmcv')):
    from .compat import prepare as _compat

    _compat.prepare()

    from .backbone import MobileNetV2Backbone
else:

    def __getattr__(name: str) -> object:
        if name == 'MobileNetV2Backbone':
            raise ImportError(
                'MobileNetV2Backbone needs torch, mmengine and mmcv: '
                "pip install 'mbv2_backbone[openmmlab]'"
            )
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
