"""Exported files beside each other, PyTorch and the toolbox: size, loading, latency, accuracy."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mmengine.config import Config

from mbv2_backbone.deploy.predictor import Predictor
from mbv2_backbone.workbench.configs.machine import Machine
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.measure import (
    METRICS,
    evaluate_exported,
    headline_metrics,
    megabytes,
)

from ..markdown import markdown_table, put_between
from .conditions import set_threads
from .inputs import Size
from .models import input_size, set_size
from .prediction import prediction_calls, runtimes_of
from .request import Results, load_request, requested_peers
from .results import make_result
from .timing import quartiles, time_in_turn, times_as_fast

_LOADS = 5  # after one that imports the runtime


def deploy(args: Namespace) -> Results:
    """Measure exported files: size, loading, latency, accuracy."""
    cfg, machine = load_request(args)
    peers = requested_peers(args, cfg, ('mmdet', 'mmseg', 'torchvision'))
    size = input_size(cfg, args.size)
    if args.size:
        set_size(cfg, size)
    rows, notes = deployment_rows(
        cfg,
        args.exported,
        peers,
        machine,
        size=size,
        threads=args.thread_counts,
        candidates=args.candidates,
        rounds=args.rounds,
        warmup=args.warmup,
    )
    settings = dict(size=size, rounds=args.rounds, reference=peers[0])
    result = make_result(
        'deploy', config=args.config, machine=machine, settings=settings, rows=rows, notes=notes
    )
    if args.into:
        put_between(args.into, f'deploy-{Path(args.config).stem}', deployment_table(result))
    return [result]


def deployment_rows(
    cfg: Config,
    paths: Sequence[str],
    peers: Sequence[str],
    machine: Machine,
    *,
    size: Size,
    threads: Sequence[int],
    candidates: int,
    rounds: int,
    warmup: int,
) -> tuple[list[dict], list[str]]:
    """Measure exported files.

    Args:
        cfg: The config that they were exported with.
        paths: What tools/export.py wrote; each runs under every installed runtime that can.
        peers: Of `mmdet`, `mmseg`, `torchvision`; the first is what the others are compared with.
        machine: What PyTorch runs on.
        size: Height and width that the network sees.
        threads: Numbers of CPU threads, each measured in a run of its own.
        candidates: Boxes above the score threshold, set for the models that run in PyTorch.
        rounds: Timed calls of each.
        warmup: Calls before them.

    Returns:
        A row for each file under each runtime and for each model in PyTorch, and notes. `latency`
        is by the number of threads: quartiles in milliseconds, and how many times as fast as the
        first peer.
    """
    rows: dict[str, dict] = {}
    notes: list[str] = []
    for count in threads:
        calls, notes = prediction_calls(
            cfg,
            peers,
            machine,
            batch_size=1,
            size=size,
            candidates=candidates,
            exported=paths,
            threads=set_threads(count),
        )
        seconds = time_in_turn(calls, rounds=rounds, warmup=warmup, settle=2)
        for name, values in seconds.items():
            row = rows.setdefault(name, dict(name=name, latency={}))
            row['latency'][str(count)] = dict(
                milliseconds={key: 1000 * value for key, value in quartiles(values).items()},
                times_as_fast=times_as_fast(values, seconds[peers[0]]),
            )
    summary = summarise(cfg)
    for path in paths:
        metrics = headline_metrics(evaluate_exported(cfg, summary, path))
        for name, runtime in runtimes_of(path).items():
            row = rows[name]
            row |= dict(megabytes=megabytes(path), load_ms=_load_ms(path, runtime), **metrics)
    return list(rows.values()), [*notes, f'load: median of {_LOADS}, the runtime imported before']


def _load_ms(path: str, runtime: str) -> float:
    seconds = []
    for _ in range(1 + _LOADS):
        begin = time.perf_counter()
        Predictor(path, runtime=runtime)
        seconds.append(time.perf_counter() - begin)
    return 1000 * median(seconds[1:])


def deployment_table(result: dict) -> str:
    """Return a result with the rows of `deployment_rows` as a Markdown table and its conditions."""
    rows, reference = result['rows'], result['settings']['reference']
    counts = list(rows[0]['latency'])
    metrics = sorted({key for row in rows for key in row if key in METRICS})
    header = ['', 'size MB', 'load ms', *(f'{n} thread{"s"[: n != "1"]}, ms' for n in counts)]
    header += [*(f'times as fast as {reference}, {n}' for n in counts), *metrics]
    body = []
    for row in rows:
        latency = [row['latency'][n] for n in counts]
        body.append(
            [
                row['name'],
                _cell(row.get('megabytes'), 2),
                _cell(row.get('load_ms'), 0),
                *(_spread(item['milliseconds'], 1) for item in latency),
                *(_spread(item['times_as_fast'], 2) for item in latency),
                *(_cell(row.get(key), 1) for key in metrics),
            ]
        )
    machine, versions = result['machine'], result['versions']
    conditions = ', '.join(
        [f'{machine["cpu"]}, {machine["cores"]} cores']
        + [f'{key} {value}' for key, value in versions.items() if value]
    )
    notes = ' '.join(f'{note[0].upper()}{note[1:]}.' for note in result['notes'])
    return '\n\n'.join(
        [
            f'{result["config"]}, median and quartiles of {result["settings"]["rounds"]} rounds:',
            markdown_table(header, body),
            f'{notes} Measured on {conditions}; load before: {machine["load_before"]}.',
            f'```sh\n{result["command"]}\n```',
        ]
    )


def _cell(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'


def _spread(values: dict, digits: int) -> str:
    low, high = (f'{values[key]:.{digits}f}' for key in ('q1', 'q3'))
    return f'{values["median"]:.{digits}f} ({low} to {high})'
