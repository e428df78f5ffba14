"""What a layout does with a state dict: rename its tensors by their module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

StateDict = Mapping[str, Tensor]
Converted = tuple[dict[str, Tensor], dict[str, Tensor]]
"""What a layout's `to_ours` returns: our state dict, and what had no place in it."""


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
