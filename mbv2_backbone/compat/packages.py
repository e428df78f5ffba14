"""Workarounds for how mmengine finds installed packages and their configs; see `compat`."""

import functools
import importlib.metadata
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ..common.own_configs import PREFIX, config_path


def find_mmseg_configs() -> None:
    """Have mmengine look for the module mmseg where no distribution is called `mmsegmentation`.

    Reason: `_base_ = 'mmseg::…'` looks for the distribution `mmsegmentation`; the maintained fork
    is called onedl-mmsegmentation, and a source tree on the path is not a distribution. mmdet's
    configs are found: its module has the name that mmengine looks for.
    Versions: mmengine 0.10.7, onedl-mmengine 0.10.12.
    Delete when: onedl-mmengine maps the module to onedl-mmsegmentation.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    if _distribution(MODULE2PACKAGE['mmseg']) is None and find_spec('mmseg') is not None:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def replace_pkg_resources() -> None:
    """Let mmengine find installed packages through importlib.metadata.

    Reason: `_base_ = 'mmdet::…'` asks pkg_resources, which setuptools no longer contains. If it
    exists, mmengine's own functions stay.
    Versions: mmengine 0.10.7 with setuptools >= 82 or without setuptools.
    Delete when: mmengine 0.10.7 is no longer supported; onedl-mmengine 0.10.12 does not need it.
    """
    from mmengine.utils import package_utils

    if 'pkg_resources' not in package_utils.get_installed_path.__code__.co_names:
        return
    for new in (is_installed, get_installed_path):
        _replace_in_mmengine(getattr(package_utils, new.__name__), new)


def _replace_in_mmengine(old: Callable, new: Callable) -> None:
    """Replace a function with another of the same name in every module that imported it."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] == 'mmengine' and vars(module).get(old.__name__) is old:
            setattr(module, old.__name__, new)


def is_installed(package: str) -> bool:
    """Check whether a distribution, or else a module, of that name is installed."""
    return _distribution(package) is not None or _package_dir(package) is not None


def get_installed_path(package: str) -> str:
    """Return the package folder of the distribution, or else the module, of that name.

    Raises:
        importlib.metadata.PackageNotFoundError: neither exists.
    """
    distribution = _distribution(package)
    top_level = (distribution and distribution.read_text('top_level.txt')) or ''
    for module in (package, *top_level.split()[:1]):
        folder = _package_dir(module)
        if folder is not None:
            return folder
    raise importlib.metadata.PackageNotFoundError(package)


def _package_dir(module: str) -> str | None:
    spec = find_spec(module)
    return str(Path(spec.origin).parent) if spec and spec.origin else None


@functools.cache
def find_own_configs() -> None:
    """Let `_base_ = 'mbv2_backbone::…'` and `mmengine.hub` find the configs of this package.

    Reason: mmengine knows only the packages in one table, requires a folder in the name, and builds
    what comes from a package in that package's own registries; ours are mmdet's and mmseg's.
    Versions: mmengine 0.10.7, onedl-mmengine 0.10.12.
    Delete when: mmengine finds the configs of any package that has them in `.mim`.
    """
    from mmengine.config import Config
    from mmengine.config import utils as config_utils

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return config_path(cfg_path.removeprefix(PREFIX)), None
        return get_any_path(cfg_path, filename)

    def _get_package_and_cfg_path(cfg_path: str) -> tuple[str, str]:
        if cfg_path.startswith(PREFIX):
            return __name__.partition('.')[0], cfg_path.removeprefix(PREFIX)
        return split(cfg_path)

    get_any_path, split = Config._get_cfg_path, config_utils._get_package_and_cfg_path
    Config._get_cfg_path = staticmethod(get_cfg_path)
    _replace_in_mmengine(split, _get_package_and_cfg_path)
