"""What the torch layouts share: a layout is a table of module names, used in both directions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

OTHER_NETWORK = 'The checkpoint is of another network, or of a deeper variant'

StateDict = Mapping[str, Tensor]
Converted = tuple[dict[str, Tensor], dict[str, Tensor]]
"""What a layout's `to_ours` returns: our state dict, and what had no place in it."""


def anchored_prefixes(names: StateDict, anchor: str) -> set[str]:
    """Return what stands before `anchor` in the names that end with it.

    Example:
        >>> anchored_prefixes({'module.backbone.conv_stem.weight': None}, 'conv_stem.weight')
        {'module.backbone.'}
    """
    found = {name.removesuffix(anchor) for name in names if name.endswith(anchor)}
    return {prefix for prefix in found if not prefix or prefix.endswith('.')}


def rename(state_dict: StateDict, modules: Mapping[str, str]) -> Converted:
    """Rename tensors by their module; a tensor of any other module is left over.

    Args:
        state_dict: Tensors by name.
        modules: New module names by old ones.
    """
    renamed: dict[str, Tensor] = {}
    left_over: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        module, _, leaf = name.rpartition('.')
        if module in modules:
            renamed[f'{modules[module]}.{leaf}'] = tensor
        else:
            left_over[name] = tensor
    return renamed, left_over


def inverse(modules: Mapping[str, str]) -> dict[str, str]:
    """Swap keys and values."""
    return {new: old for old, new in modules.items()}
