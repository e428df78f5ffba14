"""Time whole commands, from their start to their end: tools/test.py and tools/predict.py."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.compat.prepare import FAST_START
from mbv2_backbone.workbench.configs.read import task_of

from .child import child_environment
from .command_data import Prepared, prepare_command
from .peers import FIXED_HEAD
from .timing import Call, quartiles

TOOLS = ('test', 'predict')
_FIGURE = re.compile(r'\b(bbox_mAP|mIoU): +([\d.]+)')
# mmdet cannot be imported where mmcv has no compiled extension, so ours lends its stand-in.
_LEND = """
import mbv2_backbone, runpy, sys
sys.argv.pop(0)  # -c
if 'mmdet' in sys.argv[0]:
    from mmdet.models.dense_heads import SSDHead
    SSDHead.loss_cls = None
"""
_RUN = "runpy.run_path(sys.argv[0], run_name='__main__')"
_INFER = """
from mmdet.apis import DetInferencer
_, config, weights, images, out, draw = sys.argv
found = DetInferencer(config, weights, device='cpu', show_progress=False)(
    images, out_dir=out, no_save_vis=draw != 'draw', no_save_pred=False)
"""


@dataclass
class Timed:
    """Commands and what their runs took besides wall time.

    Attributes:
        calls: Each runs a command to its end.
        notes: What a reader must know.
        split: Runs our commands once; returns rows, see `split_rows`.
        processor: Seconds of processor time of each run, by name.
        figures: What each command printed last, by name.
    """

    calls: dict[str, Call]
    notes: list[str]
    split: Callable[[], list[dict]] | None = None
    processor: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    figures: dict[str, str] = field(default_factory=dict)

    def last_notes(self, rounds: int) -> list[str]:
        """Return the notes, with processor time and figures of the counted rounds."""
        taken = ', '.join(
            f'{name} {quartiles(seconds[-rounds:])["median"]:.1f} s'
            for name, seconds in self.processor.items()
        )
        notes = [*self.notes, f'processor time of a command: {taken}']
        if self.figures:
            shown = ', '.join(f'{name} {figure}' for name, figure in self.figures.items())
            notes.append(f'figures: {shown}')
        return notes


def command_calls(
    cfg: Config,
    config: str,
    peer: str,
    folder: Path,
    *,
    tool: str,
    num_images: int,
    tools: Path,
    checkouts: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Timed:
    """Prepare the commands that are timed.

    Args:
        cfg: Our config.
        config: Its path.
        peer: `mmdet` or `mmseg`.
        folder: For images, weights, configs and work directories.
        tool: `test` or `predict`.
        num_images: Images that a command reads.
        tools: Our folder `tools`.
        checkouts: Folders of other versions of this repository, whose commands run too.
        options: Further arguments of our commands, such as `--no-draw`.

    Returns:
        The calls, ours first.

    Raises:
        UserError: If the peer has no such command.
    """
    if tool == 'predict' and task_of(cfg) != 'det':
        raise UserError('whole predictions are compared with DetInferencer: give a detector')
    ready = prepare_command(cfg, peer, folder, num_images=num_images, is_test=tool == 'test')
    timed = Timed({}, list(ready.notes))
    places = {'ours': tools} | {f'ours in {Path(p).name}': Path(p, 'tools') for p in checkouts}
    for name, place in places.items():
        argv = our_command(place, tool, config, ready, folder / f'out {name}', options)
        env = dict(PYTHONPATH=os.pathsep.join([str(place.parent), str(place)]))
        timed.calls[name] = _call(timed, name, argv, env)
    timed.split = functools.partial(
        split_rows, ready, config, folder, tool=tool, places=places, options=options
    )
    theirs = _peer_command(peer, tool, ready, folder, '--no-draw' not in options)
    timed.calls[peer] = _call(timed, peer, theirs, {FAST_START: '0'})
    if peer == 'mmdet':
        timed.notes.append(FIXED_HEAD)
    who = 'DetInferencer' if tool == 'predict' else f"{peer}'s own tools/test.py"
    timed.notes.append(
        f'each command is a new process; {who} runs on its own config without our faster start; '
        f"where mmcv has no compiled extension, mbv2_backbone's replacement is used"
    )
    return timed


def split_rows(
    ready: Prepared,
    config: str,
    folder: Path,
    *,
    tool: str,
    places: Mapping[str, Path],
    options: Sequence[str] = (),
) -> list[dict]:
    """Run each checkout's command once under `split.py`.

    Returns:
        A row for each stage: seconds of processor time, by name of the checkout, and their sum.
    """
    spent = {}
    for name, place in places.items():
        out = folder / f'split {name}.json'
        argv = our_command(place, tool, config, ready, folder / f'out {name}', options)
        script = str(Path(__file__).with_name('split.py'))
        env = dict(PYTHONPATH=os.pathsep.join([str(place.parent), str(place)]))
        run_to_end([argv[0], script, str(out), *argv[1:]], env)
        spent[name] = json.loads(out.read_text(encoding='utf-8'))
    stages = dict.fromkeys(stage for seconds in spent.values() for stage in seconds)
    rows = [
        dict(stage=stage) | {f'{name} s': round(spent[name].get(stage, 0), 2) for name in spent}
        for stage in stages
    ]
    total = {f'{name} s': round(sum(seconds.values()), 2) for name, seconds in spent.items()}
    return [*rows, dict(stage='all', **total)]


def our_command(
    tools: Path, tool: str, config: str, ready: Prepared, out: Path, options: Sequence[str] = ()
) -> list[str]:
    """Return our command line; another checkout has its own config of that name."""
    own = tools.parent / 'configs' / Path(config).name
    start = [sys.executable, str(tools / f'{tool}.py'), str(own if own.exists() else config)]
    start.append(str(ready.checkpoint))
    where = ['--work-dir', str(out)] if tool == 'test' else [str(ready.images), '--out', str(out)]
    data = ['--cfg-options', *ready.options] if ready.options else []
    return [*start, *where, *options, *data]


def _peer_command(peer: str, tool: str, ready: Prepared, folder: Path, draws: bool) -> list[str]:
    paths = [str(ready.peer_config), str(ready.peer_checkpoint)]
    out = str(folder / peer)
    if tool == 'predict':
        draw = 'draw' if draws else 'none'
        code = _LEND + _INFER
        return [sys.executable, '-c', code, 'mmdet', *paths, str(ready.images), out, draw]
    script = ready.peer_tools / 'test.py'
    return [sys.executable, '-c', _LEND + _RUN, str(script), *paths, '--work-dir', out]


def _call(timed: Timed, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Call:
    def call() -> None:
        output, seconds = run_to_end(argv, env)
        timed.processor[name].append(seconds)
        if found := _FIGURE.findall(output):
            timed.figures[name] = ' '.join(found[-1])

    return call


def run_to_end(argv: Sequence[str], env: Mapping[str, str]) -> tuple[str, float]:
    """Run a command.

    Returns:
        What it wrote, and the seconds of processor time of it and its child processes.

    Raises:
        UserError: If it fails.
    """
    process = subprocess.Popen(
        argv,
        env=child_environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise UserError(f'{" ".join(argv)[-300:]} failed:\n{output[-3000:]}')
    return output, usage.ru_utime + usage.ru_stime
