"""Everything that a machine with a GPU is measured for, one command a part, in minutes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.machine import Machine, detect_machine
from mbv2_backbone.workbench.doctor.hardware import check_gpu, gpu_facts

from .child import child_environment
from .request import Results
from .results import make_result, read_json

SAMPLE = 'ssdlite_mbv2_sample.py'
MINUTES = 8.0


@dataclass(frozen=True)
class Part:
    """A command and its share of the time.

    Attributes:
        name: What it does.
        seconds: Its share where all of them have 8 minutes; then it is stopped.
        command: A tool's name and its arguments.
        measures: Whether it is one of tools/benchmark.py, whose results are kept.
    """

    name: str
    seconds: float
    command: tuple[str, ...]
    measures: bool = True


def parts_of(args: Namespace, folder: str) -> list[Part]:
    """Return the parts, the most important first.

    Args:
        args: The command line: `config`, and what makes a trial small: `size`, `batch_size`,
            `rounds`, `cfg_options` of the training.
        folder: For what the training writes.
    """
    sample = str(Path(args.config).with_name(SAMPLE))
    size = ('--size', *map(str, args.size)) if args.size else ()
    batch = ('--batch-size', str(args.batch_size)) if args.batch_size else ()
    rounds = ('--rounds', str(args.rounds), '--warmup', str(min(args.rounds, 3)))
    options = ('--cfg-options', *args.cfg_options) if args.cfg_options else ()

    def measured(name: str, seconds: float, work: str, *flags: str) -> Part:
        return Part(name, seconds, ('benchmark.py', work, args.config, *size, *flags))

    def step(name: str, seconds: float, *flags: str) -> Part:
        return measured(name, seconds, 'train', *batch, '--peer', 'mmdet', *flags)

    def timed(name: str, seconds: float, *flags: str) -> Part:
        return step(name, seconds, *rounds, *flags)

    compiled = ('--amp', '--cfg-options', 'compile=True')
    training = ('train.py', sample, '--work-dir', folder, *options)
    return [
        Part('sample data', 20, ('data.py', 'sample'), measures=False),
        Part('train the sample', 100, training, measures=False),
        measured('losses, CPU and device', 30, 'losses'),
        timed('step, float32', 35, '--no-amp'),
        timed('step, mixed precision', 35, '--amp'),
        step('memory, float32', 40, '--peak-memory', '--no-amp'),
        step('memory, mixed precision', 40, '--peak-memory', '--amp'),
        measured('prediction', 35, 'predict', '--peer', 'mmdet', *rounds),
        step('operators', 45, '--profile', '--amp'),
        timed('step, compiled', 100, *compiled),
    ]


def chosen_environment(device: str) -> dict[str, str]:
    """Return an environment in which every process sees one GPU, or none for `cpu`.

    Raises:
        UserError: If there is no GPU to use.
    """
    if device == 'cpu':
        return child_environment(CUDA_VISIBLE_DEVICES='')
    facts = gpu_facts()
    if not facts.names:
        found = check_gpu(facts)
        raise UserError(
            f'`gpu` measures a CUDA GPU; {found.what}: {found.fix} (--device cpu tries the command)'
        )
    first = os.environ.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0]
    return child_environment(CUDA_VISIBLE_DEVICES=first)


def measure_all(args: Namespace) -> Results:
    """Run the parts one after the other; return what they measured, and how each ended.

    Raises:
        UserError: If there is no GPU to use.
    """
    environment = chosen_environment(args.device)
    os.environ['CUDA_VISIBLE_DEVICES'] = environment['CUDA_VISIBLE_DEVICES']
    tools = Path(args.train_tool).parent
    results: Results = []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for i, part in enumerate(parts_of(args, folder)):
            file = Path(folder, f'{i}.json')
            tool, *arguments = part.command
            command = [sys.executable, str(tools / tool), *arguments]
            if part.measures:
                command += ['--json', str(file)]
            share = part.seconds * args.minutes / MINUTES
            print(f'== {part.name}: at most {share:.0f} s', flush=True)
            begin = time.perf_counter()
            outcome = run_part(command, share, environment)
            taken = round(time.perf_counter() - begin, 1)
            if part.command[0] == 'train.py':
                outcome += _accuracy(folder)
            rows.append(dict(name=part.name, seconds=taken, share=share, outcome=outcome))
            print(f'   {outcome}, {taken} s', flush=True)
            if file.exists():
                written = f'python {shlex.join([f"tools/{tool}", *arguments])}'
                results += [dict(result, command=written) for result in read_json(str(file))]
    return [*results, _summary(args, detect_machine(), rows)]


def _accuracy(folder: str) -> str:
    """Return the last mAP that a training wrote below a folder, as `, mAP 0.43`."""
    found = [
        json.loads(line)
        for file in Path(folder).glob('*/vis_data/scalars.json')
        for line in file.read_text(encoding='utf-8').splitlines()
    ]
    values = [entry['coco/bbox_mAP'] for entry in found if 'coco/bbox_mAP' in entry]
    return f', mAP {values[-1]:.3f}' if values else ''


def _summary(args: Namespace, machine: Machine, rows: list[dict]) -> dict:
    return make_result(
        'gpu',
        config=args.config,
        machine=machine,
        settings=dict(minutes=args.minutes),
        rows=rows,
        notes=['a part that takes longer than its share is stopped, and what it measured is lost'],
    )


def run_part(command: Sequence[str], seconds: float, environment: dict[str, str]) -> str:
    """Run a command, at most so long, with all processes that it starts.

    Returns:
        `done`, `stopped after its share of the time`, or `failed: ` and the last line it wrote.
    """
    with (
        tempfile.TemporaryFile('w+', encoding='utf-8', errors='replace') as log,
        subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return 'stopped after its share of the time'
        finally:
            with suppress(ProcessLookupError):  # its peers' processes would outlive it
                os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        lines = log.read().strip().splitlines() or ['no output']
        return 'done' if code == 0 else f'failed: {lines[-1]}'
