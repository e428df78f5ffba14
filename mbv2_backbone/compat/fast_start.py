"""Defer work that mmengine's Runner does eagerly at start-up.

Versions for all: mmengine 0.10.7, onedl-mmengine 0.10.12, torch 2.15.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config, config
from mmengine.config.utils import _get_external_cfg_base_path
from mmengine.dataset import base_dataset
from mmengine.visualization import Visualizer
from torch.optim import Optimizer

from ..common.code_layout import lay_out

_YAPF = ('yapf', 'yapf.yapflib', 'yapf.yapflib.yapf_api')
_CACHED = '__dynamo_disable'  # where torch._compile caches the disabled version of a function


def lay_out_configs() -> None:
    """Format configs with `lay_out` instead of yapf, and do without yapf.

    Reason: the Runner has yapf format the whole config four times, a second or more each. mmengine
    imports it even to write a config that is not to be formatted: 0.15 s, for its two grammars.
    Delete when: mmengine formats a config once, or fast, and imports yapf where it formats.
    """

    def pretty_text(self: Config) -> str:
        options = vars(self)
        is_formatted = options['_format_python_code']
        options['_format_python_code'] = False
        names = () if 'yapf' in sys.modules else _YAPF
        sys.modules.update({name: SimpleNamespace(FormatCode=None) for name in names})
        try:
            text = written.fget(self)
        finally:
            options['_format_python_code'] = is_formatted
            for name in names:
                del sys.modules[name]
        return lay_out(text) if is_formatted else text

    written = Config.pretty_text
    Config.pretty_text = property(pretty_text, doc=written.__doc__)


def find_base_configs() -> None:
    """Look for `mmdet::_base_/…` where base configs are.

    Reason: mmengine first reads the 100 metafiles of the toolbox, in which no base config stands.
    Delete when: mmengine looks at the file first.
    """

    def _get_external_cfg_path(package_path: str, cfg_file: str) -> str:
        if cfg_file.startswith('_base_/'):
            return _get_external_cfg_base_path(package_path, cfg_file)
        return find(package_path, cfg_file)

    find = config._get_external_cfg_path
    config._get_external_cfg_path = _get_external_cfg_path


def collect_little() -> None:
    """Make a dataset collect the youngest garbage only.

    Reason: each dataset collects garbage when it is built, which walks over all that the imports
    made: a tenth of a second each. `gc.freeze` would also keep the models that are there, forever.
    Delete when: mmengine's BaseDataset collects no garbage.
    """
    base_dataset.gc = SimpleNamespace(collect=lambda: gc.collect(0))


def defer_figure() -> None:
    """Make the Visualizer create its matplotlib figure only when it first draws.

    Reason: the Runner always builds a Visualizer, and matplotlib takes most of a second to load.
    Delete when: mmengine creates the figure on first use.
    """

    def initialize_fig(self: Visualizer, cfg: dict) -> tuple:
        make = functools.cache(lambda: initialize(self, cfg))
        return tuple(_Part(make, index) for index in range(3))

    def dpi(self: Visualizer) -> float:
        value = vars(self)['dpi']
        return value() if callable(value) else value

    initialize = Visualizer._initialize_fig
    Visualizer._initialize_fig = initialize_fig
    Visualizer.dpi = property(dpi, lambda self, value: vars(self).update(dpi=value))


class _Part:
    """The canvas, the figure or the axes, created on first access."""

    def __init__(self, make: Callable[[], tuple], index: int) -> None:
        self._make, self._index = make, index

    def get_dpi(self) -> Callable[[], float]:
        """Return a function that gives the resolution: `__init__` reads it before any drawing."""
        return lambda: self._make()[self._index].get_dpi()

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # `copy` looks these up before the object has state
            raise AttributeError(name)
        return getattr(self._make()[self._index], name)


def defer_dynamo() -> None:
    """Make optimizers work without torch._dynamo until something else loads it.

    Reason: building and stepping an optimizer imports the compiler (with sympy and triton) just to
    mark what it must not compile; that takes as long as importing torch.
    Delete when: torch.optim no longer imports torch._dynamo.
    """
    for method in vars(Optimizer).values():
        function = getattr(method, '__wrapped__', None)
        if function is not None and not hasattr(function, _CACHED):
            setattr(function, _CACHED, _disabled_later(function))
    for optimizer in vars(torch.optim).values():
        step = vars(optimizer).get('step') if inspect.isclass(optimizer) else None
        if step is not None and step.__code__.co_name == '_use_grad':
            optimizer.step = _step(step)


def _is_dynamo_loaded() -> bool:
    return 'torch._dynamo' in sys.modules


def _disabled_later(function: Callable) -> Callable:
    """Wrap a function that must not be compiled, for when the compiler is loaded."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not _is_dynamo_loaded():
            return function(*args, **kwargs)
        disabled = torch._dynamo.disable(function)
        setattr(function, _CACHED, disabled)
        return disabled(*args, **kwargs)

    call._torchdynamo_disable = True  # a compiler that is loaded in the meantime skips it
    return call


def _step(step: Callable) -> Callable:
    """Do what torch's `_use_grad_for_differentiable` does, without loading the compiler."""
    function = step.__wrapped__

    @functools.wraps(function)
    def call(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if _is_dynamo_loaded():
            return step(self, *args, **kwargs)
        with torch.set_grad_enabled(self.defaults['differentiable']):
            return function(self, *args, **kwargs)

    return call
