"""What the operators of a training step on a CPU attain of what the machine does at most.

An operator cannot be faster than its arithmetic at the machine's peak, nor than its inputs and
outputs pass through memory once (Williams et al., Roofline, CACM 2009). What stays in a cache from
one operator to the next can be faster than memory, so a share may exceed 1.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mbv2_backbone.workbench.configs.machine import detect_machine

from .steps import StepJob, build_step
from .timing import Call, time_in_turn

WARMUP = 2
STEPS = 3
SHOWN = 15
_PEAK_ROUNDS = 5
_COPIED = 2**26  # float32 values of which memory's speed is measured: 256 MiB
_CONVOLUTION = torch.ops.aten.convolution.default
_GRADIENT = torch.ops.aten.convolution_backward.default


@dataclass
class Cost:
    """Sums over the calls of an operator: seconds, FLOPs, bytes, and the least seconds."""

    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    bound: float = 0.0


def roofline_rows(job: StepJob) -> tuple[list[dict], list[str]]:
    """Measure the operators of a step in this process, and the machine.

    Args:
        job: The step, on a CPU.

    Returns:
        One row for the whole step and one per operator, the slowest first: calls and milliseconds
        per step, billions of FLOPs and of bytes per second, the milliseconds that the machine needs
        at least, and how large a share of the measured ones those are; and notes.
    """
    step = build_step(job)
    types = [torch.float32]
    if detect_machine(amp=job.amp).precision == 'bfloat16' and job.who == 'ours':
        types.append(torch.bfloat16)
    peaks = {dtype: peak_flops(dtype) for dtype in types}
    bandwidth = peak_bandwidth()
    milliseconds = 1000 * mean(_seconds(step, rounds=STEPS, warmup=WARMUP))
    with Meter(peaks, bandwidth) as meter:
        for _ in range(STEPS):
            step()
    costs = sorted(meter.costs.items(), key=lambda item: -item[1].seconds)
    whole = Cost(*(sum(vars(c)[name] for _, c in costs) for name in Cost.__dataclass_fields__))
    rows = [_row(name, cost) for name, cost in [('all operators', whole), *costs[:SHOWN]]]
    attained = ', '.join(f'{peaks[t] / 1e9:.0f} in {str(t).removeprefix("torch.")}' for t in types)
    notes = [
        f'a step takes {milliseconds:.1f} ms without the measurement of each operator',
        f'the machine attains at most {attained} GFLOP/s (1x1 convolutions of 512 channels), and '
        f'{bandwidth / 1e9:.1f} GB/s (copies of 256 MiB, read and written), {job.threads} threads',
        f'the rest of {len(costs)} operators is in the first row only' * (len(costs) > SHOWN),
    ]
    return rows, [note for note in notes if note]


def _row(name: str, cost: Cost) -> dict:
    return {
        'name': name,
        'calls': round(cost.calls / STEPS, 1),
        'ms': round(1000 * cost.seconds / STEPS, 2),
        'GFLOP/s': round(cost.flops / cost.seconds / 1e9, 1),
        'GB/s': round(cost.bytes / cost.seconds / 1e9, 1),
        'bound ms': round(1000 * cost.bound / STEPS, 2),
        'share': f'{cost.bound / cost.seconds:.0%}',
    }


class Meter(TorchDispatchMode):
    """Times each operator that runs inside, and counts its FLOPs and bytes.

    Args:
        peaks: FLOPs per second that the machine attains, by type.
        bandwidth: Bytes per second.
    """

    def __init__(self, peaks: dict[torch.dtype, float], bandwidth: float) -> None:
        super().__init__()
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self._peaks, self._bandwidth = peaks, bandwidth

    def __torch_dispatch__(self, func: Callable, types: tuple, args=(), kwargs=None):
        """Run an operator and add its cost."""
        del types
        begin = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - begin
        if func.is_view:
            return out
        flops = count_flops(func, args, kwargs or {}, out)
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        num_bytes = sum(x.numel() * x.element_size() for x in tensors)
        dtype = next((x.dtype for x in tensors if x.dtype in self._peaks), torch.float32)
        cost = self.costs[_name(func, args)]
        cost.calls += 1
        cost.seconds += seconds
        cost.flops += flops
        cost.bytes += num_bytes
        cost.bound += max(flops / self._peaks[dtype], num_bytes / self._bandwidth)
        return out


def _name(func: Callable, args: tuple) -> str:
    name = str(func.overloadpacket).removeprefix('aten.')
    if func not in (_CONVOLUTION, _GRADIENT):
        return name
    weight, groups = (args[1], args[8]) if func is _CONVOLUTION else (args[2], args[9])
    kernel = 'x'.join(map(str, weight.shape[2:]))
    is_depthwise = weight.shape[1] == 1 and groups > 1
    return f'{name}, {"depthwise " * is_depthwise}{kernel}'


def count_flops(func: Callable, args: tuple, kwargs: dict, out: object) -> float:
    """Count the FLOPs of convolutions, their gradients and matrix products; 0 for all else.

    A multiplication and an addition are two.
    """
    if func is _CONVOLUTION:
        x, weight, is_transposed = args[0], args[1], args[6]
        return _convolution_flops(x if is_transposed else out, weight)
    if func is _GRADIENT:
        grad, x, weight, is_transposed = *args[:3], args[7]
        return _convolution_flops(x if is_transposed else grad, weight) * sum(args[10][:2])
    count = flop_registry.get(func.overloadpacket)
    return count(*args, **kwargs, out_val=out) if count else 0


def _convolution_flops(result: Tensor, weight: Tensor) -> float:
    """Count from the result, or for a transposed convolution, whose inputs are its, from those."""
    return 2 * result.numel() * weight[0].numel()


def peak_flops(dtype: torch.dtype) -> float:
    """Measure the FLOPs per second of a large 1x1 convolution, the best of several."""
    x = torch.ones(4, 512, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(512, 512, 1, 1, dtype=dtype).to(memory_format=torch.channels_last)
    return _convolution_flops(x, weight) / _least_seconds(lambda: torch.conv2d(x, weight))


def peak_bandwidth() -> float:
    """Measure the bytes per second that a copy in memory reads and writes, the best of several."""
    source, target = torch.ones(_COPIED), torch.empty(_COPIED)
    return 2 * source.nbytes / _least_seconds(lambda: target.copy_(source))


def _least_seconds(work: Call) -> float:
    with torch.no_grad():
        return min(_seconds(work, rounds=_PEAK_ROUNDS, warmup=1))


def _seconds(work: Call, *, rounds: int, warmup: int) -> list[float]:
    return time_in_turn({'work': work}, rounds=rounds, warmup=warmup)['work']
