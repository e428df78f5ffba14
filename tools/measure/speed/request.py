"""Load what the benchmark command line asks for, and time it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import Machine, detect_machine
from mbv2_backbone.workbench.configs.read import load_config

from .conditions import synchronizer
from .peers import check_peers, default_peers
from .results import make_result, timed_rows
from .timing import Call, time_in_turn

Results = list[dict]


def load_request(args: Namespace) -> tuple[Config, Machine]:
    """Check the numbers of the command line; return its config and the machine.

    Raises:
        UserError: If a number is out of range, or the config cannot be read.
    """
    least = dict.fromkeys(('batch_size', 'rounds', 'files', 'images', 'threads'), 1)
    for name, limit in (least | dict(detections=0, candidates=0, warmup=0)).items():
        value = getattr(args, name, None)
        if isinstance(value, int) and value < limit:
            raise UserError(f'--{name.replace("_", "-")} must be {limit} or more, got {value}')
    for side in getattr(args, 'size', None) or ():
        if side < 32:
            raise UserError(f'--size must be 32 or more, got {side}')
    # All but a training step computes in float32.
    amp = getattr(args, 'amp', None) if args.work in ('train', 'startup', 'endurance') else False
    return load_config(args.config, args.cfg_options), detect_machine(amp=amp)


def timed_result(
    args: Namespace,
    machine: Machine,
    calls: Mapping[str, Call],
    notes: Sequence[str],
    *,
    reference: str,
    batch_size: int = 1,
    work: str | None = None,
    settle: int = 0,
    **settings: object,
) -> dict:
    """Time calls in turn and return the result.

    Args:
        args: The command line: `work`, `config`, `rounds` and `warmup`.
        machine: The machine.
        calls: The calls, by name.
        notes: What to state next to the results.
        reference: The name of the call that the others are compared with.
        batch_size: Images in a call.
        work: The result's name; by default that of the command line.
        settle: Calls before each one that is timed.
        settings: What was set, for the result.
    """
    wait = synchronizer(machine)
    seconds = time_in_turn(
        calls, rounds=args.rounds, warmup=args.warmup, settle=settle, synchronize=wait
    )
    return make_result(
        work or args.work,
        config=args.config,
        machine=machine,
        settings=settings | dict(rounds=args.rounds),
        rows=timed_rows(seconds, batch_size=batch_size, reference=reference),
        notes=notes,
        reference=reference,
    )


def requested_peers(args: Namespace, cfg: Config, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the peers of the command line, or those that fit the config.

    Raises:
        UserError: If there is none of that name for this work.
    """
    peers = tuple(dict.fromkeys(args.peer)) if args.peer else default_peers(cfg)
    check_peers(cfg, peers, allowed, args.work)
    return peers


@contextmanager
def plot_errors(path: str) -> Iterator[None]:
    """Raise a `UserError` where the plot cannot be written."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f'cannot write the plot to {path}: {error}') from error
