"""Estimate hours, loader processes and bottleneck of training on COCO with 1, 8 and 64 GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from mbv2_backbone.common.messages import UserError

from ..markdown import markdown_table
from .table import newest

TRAIN_IMAGES = 117_266  # of COCO train2017, those with boxes
VAL_IMAGES = 5_000
PARAMS = 4_337_013
GPUS_PER_NODE = 8
TOTAL_BATCH = 192  # images per step in the published recipe
CONFIG = 'configs/ssdlite_mbv2_coco.py'
REPEATS = 5  # passes over the images that the config counts as one epoch
# Epochs over the images and validations: the published recipe, and a quarter of it.
SCHEDULES = ((600, 24), (150, 6))

# No GPU was at hand. timm measured MobileNetV2 1.0 in training at 224 px; the time of SSDLite at
# 320 px is taken to be longer by the ratio of the multiply-adds.
ASSUMED_RATE = 2313.1 * 0.314 / 0.818
ASSUMED_SOURCE = (
    "an assumption, not a measurement: timm's 2,313 images/s for a training step of MobileNetV2 at "
    '224 px on an RTX 3090 (mixed precision, channels_last; timm, '
    'results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv), times 0.314 / 0.818, the B MAdds '
    'of that model and of ours'
)


@dataclass(frozen=True)
class Rates:
    """What the plan is computed from.

    Attributes:
        step: Images per second of a training step on one GPU.
        step_source: Where that comes from.
        pipeline: Images per second of the training pipeline on one core.
        metric_seconds: COCO's metrics on the validation images, on one core.
        cores: CPU cores for the loaders of one GPU.
        link: Bytes per second between two nodes.
    """

    step: float
    step_source: str
    pipeline: float
    metric_seconds: float
    cores: int = 16
    link: float = 12.5e9


def plan(rates: Rates, *, gpus: int, epochs: int, validations: int) -> dict:
    """Compute one row of the table.

    Args:
        rates: What it is computed from.
        gpus: GPUs, eight in a node.
        epochs: Passes over the training images.
        validations: Evaluations on the validation images.

    Returns:
        `batch` per GPU; `needed_loaders` that keep a GPU busy, and the `loaders` that its cores
        allow; `hours` by what takes them: `GPU step`, `loading` (as long as it would take alone),
        `gradient exchange`, `evaluation`; `total` hours and the `bottleneck`.
    """
    # A batch of 3 per GPU would leave 64 GPUs idle: from 8 GPUs on, each takes 24.
    batch = TOTAL_BATCH if gpus == 1 else TOTAL_BATCH // GPUS_PER_NODE
    iterations = ceil(TRAIN_IMAGES * epochs / (batch * gpus))
    # A ring all-reduce sends and receives twice the gradients; inside a node it is not counted.
    exchange = 2 * 4 * PARAMS / rates.link if gpus > GPUS_PER_NODE else 0.0
    needed = ceil(rates.step / rates.pipeline)
    used_cores = min(rates.cores, needed)
    seconds = {
        'GPU step': iterations * batch / rates.step,
        'loading': iterations * batch / (rates.pipeline * used_cores),
        'gradient exchange': iterations * exchange,
        # Predicting takes about a third of a training step; the metrics run in one process.
        'evaluation': validations * (VAL_IMAGES / (3 * rates.step * gpus) + rates.metric_seconds),
    }
    hours = {what: value / 3600 for what, value in seconds.items()}
    # Loading goes on beside the step; the exchange is counted as if nothing hid it.
    training = max(hours['GPU step'] + hours['gradient exchange'], hours['loading'])
    return dict(
        gpus=gpus,
        epochs=epochs,
        batch=batch,
        needed_loaders=needed,
        loaders=used_cores,
        hours=hours,
        total=training + hours['evaluation'],
        bottleneck=max(hours, key=hours.get),
    )


def read_rates(results: Sequence[dict], **given: float | None) -> tuple[Rates, list[str]]:
    """Find the rates in results, newest last.

    Args:
        results: Of `data` and `evaluate`, and of `train` on a GPU if there is one, all of the
            COCO config.
        **given: Fields of `Rates` to take in place of what is found; `None` counts as not given.

    Returns:
        The rates, and a line for each on where it comes from.

    Raises:
        UserError: If a result is missing.
    """
    results = [r for r in newest(results) if r['config'] == CONFIG.split('/')[-1]]
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if value <= 0:
            raise UserError(f'{key} must be above 0, got {value}')
    sources = []
    rates: dict = dict(step=ASSUMED_RATE, step_source=ASSUMED_SOURCE)
    for result in results:
        if result['work'] == 'train' and result['machine'].get('gpu') and _ours(result):
            rates['step'] = _ours(result)['images_per_second']
            rates['step_source'] = f'measured on {result["machine"]["gpu"]}'
    if 'step' in given:
        rates['step_source'] = 'given by --gpu-images-per-second'
    for key, work in (('pipeline', 'data'), ('metric_seconds', 'evaluate')):
        found = [r for r in results if r['work'] == work]
        if not found and key not in given:
            raise UserError(
                f'the plan needs a result of `{work}`: '
                f'python tools/benchmark.py {work} {CONFIG} --json FILE'
            )
        if key in given:
            sources.append(f'{key} given on the command line')
            continue
        row = _ours(found[-1])
        rates[key] = row['images_per_second']
        scaled = ''
        if work == 'evaluate':
            num_images = found[-1]['settings']['images']
            rates[key] = row['milliseconds']['median'] / 1000 * VAL_IMAGES / num_images
            scaled = f', on {num_images:,} generated images and scaled to {VAL_IMAGES:,}'
        machine = found[-1]['machine']
        sources.append(
            f'`{work}`: measured on {machine["cpu"]}, {machine["threads"]} thread(s), load before '
            f'{machine["load_before"]} on {machine["cores"]} cores{scaled}'
        )
    rates = Rates(**(rates | given))
    return rates, [f'GPU step: {rates.step_source}', *sources]


def _ours(result: dict) -> dict | None:
    return next((row for row in result['rows'] if row['name'] == 'ours'), None)


def plan_markdown(rates: Rates, sources: Sequence[str]) -> str:
    """Return the worked table, what it is computed from, and the commands, as Markdown."""
    rows = [
        plan(rates, gpus=gpus, epochs=epochs, validations=validations)
        for epochs, validations in SCHEDULES
        for gpus in (1, 8, 64)
    ]
    table = markdown_table(
        [
            'epochs',
            'GPUs',
            'images per step',
            'loaders needed per GPU',
            'hours',
            'bottleneck',
            'hours by part',
        ],
        [
            [
                row['epochs'],
                row['gpus'],
                f'{row["gpus"]} x {row["batch"]}',
                row['needed_loaders'],
                f'{row["total"]:.1f}',
                row['bottleneck'],
                ', '.join(f'{what} {hours:.2f}' for what, hours in row['hours'].items()),
            ]
            for row in rows
        ],
    )
    given = [
        f'- Training step: {rates.step:.0f} images/s on one GPU.',
        f'- Training pipeline: {rates.pipeline:.0f} images/s on one core.',
        f'- COCO metrics of {VAL_IMAGES:,} images: {rates.metric_seconds:.1f} s on one core.',
        f'- {rates.cores} cores for the loaders of each GPU, {rates.link / 1e9:.1f} GB/s between '
        'nodes: assumed.',
        *(f'- {source}.' for source in sources),
    ]
    commands = '\n\n'.join(_command(row) for row in rows)
    return '\n\n'.join([table, '\n'.join(given), f'```sh\n{commands}\n```'])


def _command(row: dict) -> str:
    gpus, nodes = row['gpus'], ceil(row['gpus'] / GPUS_PER_NODE)
    options = [f'train_dataloader.num_workers={row["loaders"]}']
    if gpus == 1:
        options.append(f'train_dataloader.batch_size={row["batch"]}')
    epochs = row['epochs'] // REPEATS
    if row['epochs'] != SCHEDULES[0][0]:
        options.append(f'train_cfg.max_epochs={epochs}')
        options += [f'param_scheduler.1.{key}={epochs}' for key in ('T_max', 'end')]
    start = 'python'
    if gpus > 1:
        start = f'torchrun --nproc_per_node={GPUS_PER_NODE}'
    if nodes > 1:
        start += f' --nnodes={nodes} --rdzv_backend=c10d --rdzv_endpoint=$FIRST_NODE:29500'
    flags = (' --launcher pytorch' if gpus > 1 else '') + (' --auto-scale-lr' if nodes > 1 else '')
    where = f'on each of {nodes} nodes' if nodes > 1 else f'{gpus} GPU{"s" if gpus > 1 else ""}'
    return (
        f'# {row["epochs"]} epochs, {where}\n'
        f'{start} tools/train.py {CONFIG}{flags} \\\n    --cfg-options {" ".join(options)}'
    )
