"""Compile a model's networks with torch.compile if the config sets `compile`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from mmengine.config import Config
from torch import nn

from ...common.messages import UserError
from .plan import step

NETWORKS = ('backbone', 'neck', 'bbox_head', 'decode_head')
_COMPILERS = dict(darwin='clang++', win32='cl')  # the default is g++


@step('compile', 'Only the networks are compiled; mmengine would compile the whole training step.')
def leave_out_compile(cfg: Config) -> None:
    """Remove `compile` from a config; mmengine's whole step would have graph breaks."""
    cfg.pop('compile', None)


def compile_options(cfg: Config) -> dict | None:
    """Return the options that a config's `compile` sets.

    Returns:
        Keyword arguments of `torch.compile`, or `None` if `compile` is missing or false.

    Raises:
        UserError: If the compiler that torch's default backend calls is missing.
    """
    asked = cfg.get('compile', False)
    if not asked:
        return None
    options = dict(fullgraph=True) | (dict(asked) if isinstance(asked, dict) else {})
    if options.get('backend', 'inductor') == 'inductor' and not _has_compiler():
        raise UserError(
            'compile=True needs a C++ compiler, and there is none on the path: install one (for '
            "example Debian's package g++), name one in CXX, or remove compile from the config"
        )
    return options


def _has_compiler() -> bool:
    command = os.environ.get('CXX') or _COMPILERS.get(sys.platform, 'g++')
    return shutil.which(shlex.split(command)[0]) is not None


def compile_networks(model: nn.Module, options: dict) -> list[str]:
    """Compile the parts with weights; targets and losses, whose sizes vary by step, stay eager.

    The keys of the state dict do not change.

    Args:
        model: A detector, a segmentor or the joint model.
        options: Keyword arguments of `torch.compile`.

    Returns:
        The names of the compiled parts.
    """
    names = [name for name in NETWORKS if isinstance(getattr(model, name, None), nn.Module)]
    for name in names:
        getattr(model, name).compile(**options)
    return names
