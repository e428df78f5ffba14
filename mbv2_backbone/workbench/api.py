# ruff: noqa: F401 (editors read the imports for type checkers)
"""The functions that the tools call, for notebooks and programs.

Each module is loaded when one of its functions is first asked for, as some need no toolbox.

Example:
    >>> from mbv2_backbone.workbench.api import new_config, train  # doctest: +SKIP
    >>> new = new_config('data/mine', 'det', out='configs/mine.py')  # doctest: +SKIP
    >>> train(new.path)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data.check.check import check_data
    from .data.conversion import convert
    from .data.public.fetch import fetch
    from .data.sample.sample import generate_sample
    from .data.show.show import show
    from .export.export import export
    from .new_config.write import new_config
    from .predict.predict import predict
    from .run import evaluate, train

_MODULES = {
    'check_data': '.data.check.check',
    'convert': '.data.conversion',
    'evaluate': '.run',
    'export': '.export.export',
    'fetch': '.data.public.fetch',
    'generate_sample': '.data.sample.sample',
    'new_config': '.new_config.write',
    'predict': '.predict.predict',
    'show': '.data.show.show',
    'train': '.run',
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES[name], __package__), name)


def __dir__() -> list[str]:
    return __all__
