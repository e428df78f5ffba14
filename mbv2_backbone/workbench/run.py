"""Training and testing with mmengine's runner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..common.messages import UserError
from ..compat.metrics_file import write_metrics_once
from ..compat.prepare import join_cpu_processes
from ..deploy.runtimes import is_exported
from ..weights.runner import refuse_code_in_checkpoints
from ..weights.whole_model import check_covers, find_checkpoint, read_weights
from .checks.before_run import check_before_run, check_parts, is_first_process
from .checks.broken_images import forget_broken_images, replace_broken, watch_images
from .checks.class_order import check_class_order
from .configs.compiling import compile_networks, compile_options, leave_out_compile
from .configs.evaluators import draw_into, dump_into, use_own_metrics
from .configs.fitted_start import fit_start
from .configs.image_loader import read_as_seen
from .configs.length import schedule_problems, told
from .configs.machine import (
    Machine,
    bare_model,
    detect_machine,
    fit_machine,
    keep_freed_memory,
    launch,
    to_memory_format,
)
from .configs.palettes import fill_palettes
from .configs.plan import Step, apply_steps
from .configs.portable import build_runner, portable
from .configs.read import load_config
from .configs.start import Start, find_start, scale_lr, start_from
from .configs.summary import ConfigSummary, summarise
from .configs.tta_config import use_tta
from .drawing import painter as drawing  # noqa: F401  (registers PictureHook)
from .predict.exported_model import exported_steps
from .predict.fast_test import FastTestHook
from .report.curve_hook import CurveHook
from .train.calibration import CalibrationHook
from .train.changed_config import ChangedConfigHook
from .train.copies import overlap_copies
from .train.loops import batches_per_epoch, end_loader_processes
from .train.robust import make_robust
from .train.signals import StopHook, stop_signals
from .train.single_image import SingleImageHook
from .train.tracking import add_tracking, make_stores, tracking_remark


def train(
    config: str | Path,
    *,
    work_dir: str | Path | None = None,
    amp: bool | None = None,
    channels_last: bool | None = None,
    auto_scale_lr: bool = False,
    resume: str | Path | None = None,
    track: Sequence[str] = (),
    cfg_options: list[str] | None = None,
    launcher: str = 'none',
    explain: bool = False,
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
        track: Trackers that get losses and metrics, too: `wandb`, `mlflow`.
        cfg_options: `key=value` overrides.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.
        explain: Only print each step of the plan with what it changes in the config.

    Raises:
        UserError: If the config, the data or a checkpoint is invalid, or if too many steps in a
            row are not finite.
        KeyboardInterrupt: On Ctrl-C or an interrupted cell of a notebook, once a checkpoint is
            saved; `resume='auto'` goes on from there. A second one stops at once.
        SystemExit: With 143 on SIGTERM, once a checkpoint is saved.
    """
    tell = print if explain else None
    notes: list[str] = []
    cfg = load_config(config, cfg_options, work_dir=work_dir, explain=tell, note=notes.append)
    check_parts(cfg, ('train', 'val'))
    summary = summarise(cfg)
    machine = detect_machine(amp=amp, channels_last=channels_last)
    start = find_start(
        resume,
        summary.work_dir,
        load_from=cfg.get('load_from'),
        is_resumed=bool(cfg.get('resume')),
    )
    if not explain:
        check_before_run(cfg, summary, ('train', 'val'), launcher=launcher)
        start = fit_start(start, cfg, summary)
    steps = training_plan(
        summary, machine, start=start, launcher=launcher, track=track, auto_scale_lr=auto_scale_lr
    )
    planned = apply_steps(cfg, steps, tell)
    if explain:
        return
    options = compile_options(cfg)
    if is_first_process(launcher):
        forget_broken_images(summary.work_dir)
    make_stores(track, summary.work_dir)
    runner = _build_runner(planned, portable(cfg, planned, task=summary.task), machine)
    if options is not None:
        model = bare_model(runner.model)
        runner.logger.info(f'Compiling {", ".join(compile_networks(model, options))}')
    for note in (*notes, *start.notes):
        runner.logger.warning(note)
    if remark := tracking_remark(planned.visualizer):
        runner.logger.info(remark)
    runner.register_hook(CalibrationHook())
    runner.register_hook(SingleImageHook())
    runner.register_hook(ChangedConfigHook())
    runner.register_hook(CurveHook(), priority='VERY_LOW')
    with stop_signals() as stop:
        runner.register_hook(StopHook(stop))
        try:
            if problems := schedule_problems(cfg, batches_per_epoch(runner)):
                runner.logger.warning(told(problems))
            runner.train()
        finally:
            end_loader_processes(runner)


def training_plan(
    summary: ConfigSummary,
    machine: Machine,
    *,
    start: Start,
    launcher: str = 'none',
    track: Sequence[str] = (),
    auto_scale_lr: bool = False,
) -> list[Step]:
    """Return the steps that change the config of a training; see `train`."""
    return [
        *_common_steps(summary, machine, launcher),
        add_tracking(track),
        *([scale_lr()] if auto_scale_lr else []),
        make_robust(),
        start_from(start),
        leave_out_compile(),
        read_as_seen(),
    ]


def evaluate(
    config: str | Path,
    checkpoint: str | Path,
    *,
    work_dir: str | Path | None = None,
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    tta: bool = False,
    tta_scales: Sequence[float] = (),
    report: bool = False,
    channels_last: bool | None = None,
    cfg_options: list[str] | None = None,
    launcher: str = 'none',
    explain: bool = False,
) -> dict:
    """Evaluate a checkpoint; the flags are mmdet's.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint, which must cover the whole model, or of an exported
            file; `best` or `last` of the work directory.
        work_dir: Where the log and the metrics go; default `work_dirs/<config name>`.
        out: A `.pkl` file for boxes and image classes, or a folder for the masks.
        show_dir: Folder for drawings of the predictions.
        tta: Test-time augmentation; the config's own, or with a flipped copy.
        tta_scales: Test-time augmentation at these sizes, relative to the config's, each flipped
            too.
        report: Whether to write `<work_dir>/report/report.html`.
        channels_last: Memory format; `None` chooses what fits the machine.
        cfg_options: `key=value` overrides.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.
        explain: See `train`.

    Returns:
        The metrics; empty if the plan is only explained.

    Raises:
        UserError: If the config, the data or the checkpoint is invalid.
    """
    tell = print if explain else None
    tta = tta or bool(tta_scales)
    cfg = load_config(config, cfg_options, work_dir=work_dir, explain=tell)
    check_parts(cfg, ('test',))
    summary = summarise(cfg)
    checkpoint = find_checkpoint(checkpoint, summary.work_dir)
    is_file = is_exported(checkpoint)
    if is_file and tta:
        raise UserError('--tta needs a checkpoint; an exported file has one fixed graph')
    if is_file and launcher != 'none':
        raise UserError('an exported file is evaluated in one process: leave out --launcher')
    if not is_file:
        state_dict, meta = read_weights(checkpoint)
        check_class_order(checkpoint, meta, summary)
    machine = detect_machine(amp=False, channels_last=channels_last)
    steps = evaluation_plan(
        summary,
        machine,
        checkpoint,
        launcher=launcher,
        out=out,
        show_dir=show_dir,
        tta=tta,
        tta_scales=tta_scales,
    )
    if not explain:
        check_before_run(cfg, summary, ('test',), launcher=launcher)
    planned = apply_steps(cfg, steps, tell)
    if explain:
        return {}
    runner = _build_runner(planned, portable(cfg, planned, task=summary.task), machine)
    if report:
        from .report.hook import ReportHook

        hook = ReportHook(checkpoint=checkpoint, summary=summary)
        runner.register_hook(hook, priority='VERY_LOW')
    if not is_file:
        model = bare_model(runner.model)
        check_covers(model.module if tta else model, state_dict, checkpoint)
        runner.register_hook(FastTestHook(machine=machine))
    return runner.test()


def evaluation_plan(
    summary: ConfigSummary,
    machine: Machine,
    checkpoint: str,
    *,
    launcher: str = 'none',
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    tta: bool = False,
    tta_scales: Sequence[float] = (),
) -> list[Step]:
    """Return the steps that change the config of an evaluation; see `evaluate`."""
    is_file = is_exported(checkpoint)
    return [
        *_common_steps(summary, machine, launcher),
        *([] if is_file else [start_from(Start(checkpoint))]),
        *([draw_into(show_dir, summary)] if show_dir else []),
        *([dump_into(out, summary)] if out else []),
        *([use_tta(tta_scales)] if tta else []),
        *(exported_steps(checkpoint, summary) if is_file else []),
        read_as_seen(),
    ]


def _common_steps(summary: ConfigSummary, machine: Machine, launcher: str) -> list[Step]:
    """Return the steps of training and of testing."""
    return [
        launch(launcher, machine),
        fit_machine(machine),
        *([] if summary.task == 'det' else [fill_palettes()]),
        use_own_metrics(),
        watch_images(),
        replace_broken(),
    ]


def _build_runner(planned: Config, recorded: Config, machine: Machine) -> Runner:
    refuse_code_in_checkpoints()
    if planned.launcher != 'none':
        write_metrics_once()
    if machine.device == 'cpu':
        keep_freed_memory()
        if planned.launcher == 'pytorch':
            join_cpu_processes(planned)
    runner = build_runner(planned, recorded)
    overlap_copies(bare_model(runner.model), machine)
    if is_model_wrapper(runner.model):
        # torch distributes gradients in the memory format that the weights have when they are
        # wrapped; a later change would permute the gradients of the first step.
        model = runner.model.module
        to_memory_format(model, machine)
        runner.model = runner.wrap_model(planned.get('model_wrapper_cfg'), model)
    else:
        to_memory_format(runner.model, machine)
    if is_main_process():
        runner.logger.info(str(replace(machine, num_processes=get_world_size())))
    return runner
