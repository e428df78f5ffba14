"""Losses of one model and batch on the CPU and on the machine's device."""

from __future__ import annotations

from argparse import Namespace
from copy import deepcopy
from dataclasses import replace

import torch
from mmengine.config import Config
from torch.nn.modules.dropout import _DropoutNd

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import Machine, to_memory_format
from mbv2_backbone.workbench.configs.read import task_of

from .inputs import Size
from .models import build_random, input_size, set_size
from .request import Results, load_request
from .results import make_result
from .training import random_batch

# Largest difference of a loss, relative to it.
LIMITS = {'float32': 1e-3, 'bfloat16': 0.05}


def losses(args: Namespace) -> Results:
    """Compare the losses on the CPU with those on the machine's device."""
    cfg, machine = load_request(args)
    size = input_size(cfg, args.size, training=True)
    rows = loss_rows(cfg, machine, batch_size=args.batch_size, size=size)
    return [
        make_result(
            'losses',
            config=args.config,
            machine=machine,
            settings=dict(batch=args.batch_size, size=size),
            rows=rows,
            notes=[
                'it is an error if a loss differs from the first row by more than '
                + ', '.join(f'{limit:.1%} in {name}' for name, limit in LIMITS.items())
            ],
        )
    ]


def loss_rows(cfg: Config, machine: Machine, *, batch_size: int, size: Size) -> list[dict]:
    """Compute the losses of a training step in each precision, from the same weights.

    Args:
        cfg: Our config.
        machine: Whose device is compared with the CPU, contiguous and in float32.
        batch_size: Images in the step.
        size: Height and width of the images.

    Returns:
        One row per device and precision: its losses, and the largest `difference` of one from the
        CPU's, relative to it.

    Raises:
        UserError: If losses differ by more than 0.001, or 0.05 in bfloat16.
    """
    set_size(cfg, size)
    reference = build_random(cfg).train()
    for module in reference.modules():
        if isinstance(module, _DropoutNd):  # draws other numbers each time
            module.eval()
    batch = random_batch(cfg, task_of(cfg), batch_size, size)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # it rounds to 10 bits
    rows: list[dict] = []
    expected: dict[str, float] = {}
    try:
        cpu = replace(machine, device='cpu', precision='float32', channels_last=False)
        for each in (cpu, *(replace(machine, precision=name) for name in LIMITS)):
            name = f'{each.device}, {each.precision}'
            found = _losses(deepcopy(reference), deepcopy(batch), each)
            expected = expected or found
            apart = max(abs(found[k] / expected[k] - 1) for k in found)
            kind = '' if rows else ', contiguous'
            rows.append(dict(name=name + kind, **found, difference=float(f'{apart:.3g}')))
            if not apart <= LIMITS[each.precision]:
                raise UserError(
                    f'losses on {name} differ from those on the CPU by {apart:.2g} of their value; '
                    f'at most {LIMITS[each.precision]} is rounding: {found}, CPU: {expected}'
                )
    finally:
        torch.backends.cudnn.allow_tf32 = before
    return rows


def _losses(model: torch.nn.Module, batch: dict, machine: Machine) -> dict[str, float]:
    model.to(machine.device)
    to_memory_format(model, machine)
    data = model.data_preprocessor(batch, True)
    is_half = machine.precision != 'float32'
    with torch.no_grad(), torch.autocast(machine.device, torch.bfloat16, enabled=is_half):
        losses = model(**data, mode='loss')
    return {
        name: float(sum(value) if isinstance(value, (list, tuple)) else value)
        for name, value in losses.items()
        if 'loss' in name
    }
