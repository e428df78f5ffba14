"""Training and testing with mmengine's runner."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..common.messages import UserError
from ..compat.prepare import join_cpu_processes
from ..deploy.runtimes import is_exported
from ..weights.runner import refuse_code_in_checkpoints
from ..weights.whole_model import (
    check_covers,
    check_resumable,
    find_checkpoint,
    newest_resumable,
    read_state_dict,
)
from .checks.before_run import check_classes, check_data, check_masks
from .checks.broken_images import watch_images
from .configs.compiling import compile_networks, pop_compile_options
from .configs.evaluators import draw_into, dump_into, use_own_metrics
from .configs.machine import (
    Machine,
    bare_model,
    detect_machine,
    fit_config,
    keep_freed_memory,
    to_memory_format,
)
from .configs.palettes import fill_palettes
from .configs.portable import build_runner, portable
from .configs.read import load_config, task_of
from .configs.tta_config import use_tta
from .drawing import painter as drawing  # noqa: F401  (registers PictureHook)
from .predict.exported_model import with_exported
from .report.curve_hook import CurveHook
from .train.loops import end_loader_processes
from .train.robust import make_robust
from .train.signals import StopHook, stop_signals
from .train.tracking import add_tracking


def train(
    config: str,
    *,
    work_dir: str | None = None,
    amp: bool | None = None,
    channels_last: bool | None = None,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    track: Sequence[str] = (),
    cfg_options: list[str] | None = None,
    launcher: str = 'none',
) -> None:
    """Train a config; the flags are mmdet's.

    Args:
        config: Path of the config.
        work_dir: Where logs and checkpoints go; default `work_dirs/<config name>`.
        amp: Mixed precision; `None` chooses what fits the machine.
        channels_last: Memory format; `None` chooses what fits the machine.
        auto_scale_lr: Scale the learning rate from the config's base batch size to the real one.
        resume: `auto` for the newest good checkpoint in `work_dir`, if there is any, or a
            checkpoint's path.
        track: Trackers that get the figures, too: `wandb`, `mlflow`.
        cfg_options: `key=value` overrides.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.

    Raises:
        UserError: If the config, the data or a checkpoint is not what it must be, or if too many
            steps in a row are not finite.
        SystemExit: On Ctrl-C (130) or SIGTERM (143), once a checkpoint is saved.
    """
    cfg = load_config(config, cfg_options)
    loaded = deepcopy(cfg)
    machine = _prepare(cfg, work_dir, launcher, amp=amp, channels_last=channels_last)
    watch_images(cfg, fresh=True)
    remark = add_tracking(cfg, track)
    check_classes(cfg, ('train', 'val'))
    check_data(cfg, ('train', 'val'))
    check_masks(cfg, ('train', 'val'))
    if auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) in the config'
            )
        cfg.auto_scale_lr.enable = True
    make_robust(cfg)
    compile_options = pop_compile_options(cfg)
    notes = _choose_start(cfg, resume)
    runner = _build_runner(cfg, loaded, machine)
    if compile_options is not None:
        model = bare_model(runner.model)
        runner.logger.info(f'Compiling {", ".join(compile_networks(model, compile_options))}')
    for note in notes:
        runner.logger.warning(note)
    if remark:
        runner.logger.info(remark)
    runner.register_hook(CurveHook(), priority='VERY_LOW')
    with stop_signals() as stop:
        runner.register_hook(StopHook(stop))
        try:
            runner.train()
        finally:
            end_loader_processes(runner)


def _choose_start(cfg: Config, resume: str | None) -> list[str]:
    """Write into a config the checkpoint to go on from; return what is to be said about it.

    The file is read as a test, so that nothing that is damaged or carries code comes further.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    notes: list[str] = []
    if resume == 'auto':
        cfg.resume = False
        path = newest_resumable(cfg.work_dir, warn=notes.append)
        if path is None:
            return [f'There is no checkpoint in {cfg.work_dir} to go on from; this is a new run.']
        cfg.resume, cfg.load_from = True, path
    elif resume is not None:
        if '://' not in resume:
            check_resumable(resume)
        cfg.resume, cfg.load_from = True, resume
    elif cfg.get('load_from') and '://' not in cfg.load_from:
        read_state_dict(cfg.load_from)
    return notes


def evaluate(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    tta_scales: Sequence[float] = (),
    report: bool = False,
    channels_last: bool | None = None,
    cfg_options: list[str] | None = None,
    launcher: str = 'none',
) -> dict:
    """Evaluate a checkpoint; the flags are mmdet's.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint, which must cover the whole model, or of an exported
            file; `best` or `last` of the work folder.
        work_dir: Where the log and the metrics go; default `work_dirs/<config name>`.
        out: A `.pkl` file for the predictions of a model with boxes, or a folder for the masks.
        show_dir: Folder for pictures of the predictions.
        tta: Test-time augmentation; the config's own, or with a flipped copy.
        tta_scales: Test-time augmentation at these sizes, relative to the config's, each flipped
            too.
        report: Whether to write `<work_dir>/report/report.html`.
        channels_last: Memory format; `None` chooses what fits the machine.
        cfg_options: `key=value` overrides.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.

    Returns:
        The metrics.

    Raises:
        UserError: If the config, the data or the checkpoint is not what it must be.
    """
    tta = tta or bool(tta_scales)
    cfg = load_config(config, cfg_options)
    loaded = deepcopy(cfg)
    checkpoint = find_checkpoint(checkpoint, work_dir or cfg.work_dir)
    is_file = is_exported(checkpoint)
    if is_file and tta:
        raise UserError('--tta needs a checkpoint; an exported file has one fixed graph')
    if is_file and launcher != 'none':
        raise UserError('an exported file is evaluated in one process: leave out --launcher')
    state_dict = {} if is_file else read_state_dict(checkpoint)
    machine = _prepare(cfg, work_dir, launcher, amp=False, channels_last=channels_last)
    watch_images(cfg)
    task = task_of(cfg)  # later another model may stand there
    check_classes(cfg, ('test',))
    check_data(cfg, ('test',))
    check_masks(cfg, ('test',))
    cfg.load_from = None if is_file else checkpoint
    if show_dir:
        draw_into(cfg, show_dir)
    if out:
        dump_into(cfg, out)
    if tta:
        use_tta(cfg, tta_scales)
    if is_file:
        cfg = with_exported(cfg, checkpoint)
    runner = _build_runner(cfg, loaded, machine)
    if report:
        from .report.hook import ReportHook

        runner.register_hook(ReportHook(checkpoint=checkpoint, task=task), priority='VERY_LOW')
    if not is_file:
        model = bare_model(runner.model)
        check_covers(model.module if tta else model, state_dict, checkpoint)
    return runner.test()


def _prepare(
    cfg: Config,
    work_dir: str | None,
    launcher: str,
    *,
    amp: bool | None,
    channels_last: bool | None,
) -> Machine:
    machine = detect_machine(amp=amp, channels_last=channels_last)
    fit_config(cfg, machine)
    if task_of(cfg) != 'det':
        fill_palettes(cfg)  # our loader knows the colours
    use_own_metrics(cfg)
    if machine.device == 'cpu':
        keep_freed_memory()
    cfg.launcher = launcher
    if launcher == 'pytorch' and machine.device == 'cpu':
        join_cpu_processes(cfg)
    cfg.work_dir = work_dir or cfg.work_dir
    # Under a fixed name a second run in one process would draw into the folder of the first.
    cfg.get('visualizer', {}).pop('name', None)
    return machine


def _build_runner(cfg: Config, loaded: Config, machine: Machine) -> Runner:
    refuse_code_in_checkpoints()
    runner = build_runner(cfg, portable(loaded, cfg))
    if is_model_wrapper(runner.model):
        # torch shares out gradients by the memory format that the weights have when they are
        # wrapped; changed later, it would permute the gradients of the first step.
        model = runner.model.module
        to_memory_format(model, machine)
        runner.model = runner.wrap_model(cfg.get('model_wrapper_cfg'), model)
    else:
        to_memory_format(runner.model, machine)
    if is_main_process():
        runner.logger.info(str(replace(machine, num_processes=get_world_size())))
    return runner
