"""What waits for a GPU, found on a CPU."""

from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

OPERATORS = {
    '_local_scalar_dense',
    'nonzero',
    'nonzero_numpy',
    'masked_select',
    'unique_dim',
    '_unique2',
    'unique_consecutive',
    'bincount',
    'repeat_interleave',
    'nms',
}
# These read, or copy to the device and wait, without an operator that tells.
METHODS = ('tolist', 'numpy', 'cpu', '__array__', 'new_tensor')


class _Recorder(TorchDispatchMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in OPERATORS:
            self.found.append(name)
        if name.startswith('index'):
            indices = args[1] if isinstance(args[1], (list, tuple)) else []
            if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices):
                self.found.append(f'{name} with a mask')
        return func(*args, **(kwargs or {}))


def _recorded(name, method, found, tensor, *args, **kwargs):
    found.append(name)
    return method(tensor, *args, **kwargs)


@contextmanager
def waits():
    """Yield a list that receives, in order, what would wait for a GPU."""
    found = []
    with ExitStack() as stack:
        for name in METHODS:
            method = partial(_recorded, name, getattr(torch.Tensor, name), found)
            stack.enter_context(
                patch.object(torch.Tensor, name, lambda *a, _f=method, **k: _f(*a, **k))
            )
        yield stack.enter_context(_Recorder(found)).found
