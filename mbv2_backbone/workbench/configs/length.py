"""The schedules of learning rate and momentum, and the length of the training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from mmengine.config import Config

from ...common.messages import UserError
from .plan import differences, step

INF = 10**9  # mmengine's `end` of a schedule without an end
_UNITS = dict(max_epochs='epochs', max_iters='iterations')
_DURATIONS = ('T_max', 'total_steps')
_LISTS = ('milestones', 'periods')
_PLACES = ('begin', 'end', *_DURATIONS, *_LISTS, 'step_size')


@step('schedule', 'The schedule ends with the training, whose length was overridden.')
def follow_length(cfg: Config, written: Config) -> None:
    """Stretch the schedules of a config to the length that an override gives the training.

    A warm-up keeps its length, but takes at most half of the training. Schedules whose length is
    overridden, too, and those that count in another unit than the training stay as they are.

    Args:
        cfg: The config with the overrides.
        written: The same without them.

    Raises:
        UserError: If the length is in a unit that the training does not count.
    """
    if not cfg.get('train_cfg') or not written.get('train_cfg'):
        return
    _check_unit(cfg.train_cfg)
    for key in _UNITS:  # `max_epochs = 20` at the top of a config, from which the others are made
        old = written.get(key)
        if old is not None and old == written.train_cfg.get(key) == cfg.train_cfg.get(key):
            cfg.train_cfg[key] = cfg[key]
    key = _unit(written.train_cfg)
    old, new = written.train_cfg.get(key), cfg.train_cfg.get(key)
    before = _schedulers(written)
    if not old or not new or old == new or not before:
        return
    counted = [one for one in before if one.get('by_epoch', True) == (key == 'max_epochs')]
    warmup = max((one['end'] for one in counted if _is_warmup(one, old)), default=0)
    kept = []
    for i, one in enumerate(_schedulers(cfg)):
        same = i < len(before) and all(one.get(k) == before[i].get(k) for k in ('type', *_PLACES))
        if not same or before[i] not in counted or _stretch(one, old, new, warmup=warmup):
            kept.append(one)
    cfg.param_scheduler = kept


def _check_unit(train_cfg: dict) -> None:
    """Refuse a length that the training loop would not take."""
    for key in _UNITS:
        if not isinstance(train_cfg.get(key, 0), int):
            raise UserError(f'train_cfg.{key} must be a whole number, got {train_cfg[key]!r}')
    kind = str(train_cfg.get('type'))
    counts = 'max_iters' if 'IterBased' in kind else 'max_epochs' if 'EpochBased' in kind else None
    other = next((key for key in _UNITS if key != counts and train_cfg.get(key)), None)
    if counts and other:
        raise UserError(
            f'this training counts {_UNITS[counts]} (train_cfg.type is {kind}, {counts} is '
            f'{train_cfg.get(counts)}), but train_cfg.{other} is {train_cfg[other]}; set '
            f'train_cfg.{counts} instead'
        )


def followed(written: Config, cfg: Config) -> str | None:
    """Say which schedules `follow_length` changed, if it did."""
    old, new = (one.get('train_cfg') or {} for one in (written, cfg))
    key = _unit(new)
    if key is None or old.get(key) == new[key]:
        return None
    schedules = (Config(dict(param_scheduler=_schedulers(one))) for one in (written, cfg))
    changes = [line.removeprefix('~ ') for line in differences(*schedules)]
    if not changes:
        return None
    return f'{key} is {new[key]} instead of {old.get(key)}, and the schedule: {"; ".join(changes)}'


def schedule_problems(cfg: Config, batches: int) -> list[str]:
    """Name what of a config's schedules ends elsewhere than its training.

    Args:
        cfg: The config.
        batches: Iterations in an epoch.
    """
    train_cfg = cfg.get('train_cfg') or {}
    key = _unit(train_cfg)
    problems, ends = [], []
    for i, one in enumerate(_schedulers(cfg) if key else ()):
        by_epoch = one.get('by_epoch', True)
        name = f'param_scheduler.{i} ({_kind(one)})'
        if by_epoch and key == 'max_iters':
            problems.append(f'{name} counts epochs, and the training iterations: it does nothing')
            continue
        is_mixed = not by_epoch and key == 'max_epochs'
        length = train_cfg[key] * (batches if is_mixed else 1)
        unit = 'epochs' if by_epoch else 'iterations'
        last = _last_change(one)
        if last > length or ('milestones' in one and last == length):
            problems.append(f'{name} changes until {last} {unit}, and training ends at {length}')
        if not _is_warmup(one, length):
            end = min(_end(one), length)
            ends.append((end / length, f'{name} ends at {end} of {length} {unit}'))
    if ends and max(ends)[0] < 1:
        problems.append(max(ends)[1])
    return problems


def told(problems: Sequence[str]) -> str:
    """Return the warning about the problems of `schedule_problems`."""
    return (
        f'The schedule ends elsewhere than the training: {"; ".join(problems)}. If this is not '
        f'intended, change its begin, end, T_max and milestones, or max_epochs or max_iters in '
        f'train_cfg'
    )


def _unit(train_cfg: dict) -> str | None:
    return next((key for key in _UNITS if train_cfg.get(key)), None)


def _schedulers(cfg: Config) -> list[dict]:
    """Return a config's schedulers; none if it has some for each of several optimizers."""
    found = cfg.get('param_scheduler') or []
    found = [found] if isinstance(found, dict) else found
    return found if all('type' in one for one in found) else []


def _kind(scheduler: dict) -> str:
    kind = scheduler.get('type')
    return getattr(kind, '__name__', str(kind).rpartition('.')[2])


def _is_warmup(scheduler: dict, length: int) -> bool:
    is_rising = _kind(scheduler).startswith(('Linear', 'Constant')) or 'Warmup' in _kind(scheduler)
    return is_rising and not scheduler.get('begin') and scheduler.get('end', INF) < length


def _end(scheduler: dict) -> int:
    """Return where a scheduler stops: at its `end`, or at that of its shape."""
    begin, end = scheduler.get('begin', 0), scheduler.get('end', INF)
    durations = [scheduler[key] for key in _DURATIONS if scheduler.get(key)]
    durations += [sum(scheduler['periods'])] if 'periods' in scheduler else []
    return min([end, *(begin + duration for duration in durations)])


def _last_change(scheduler: dict) -> int:
    """Return the last point at which a scheduler would change its value; 0 without such a point."""
    if 'milestones' in scheduler:
        return scheduler.get('begin', 0) + max(scheduler['milestones'], default=0)
    end = _end(scheduler)
    return 0 if end >= INF or 'step_size' in scheduler else end


def _stretch(scheduler: dict, old: int, new: int, *, warmup: int) -> bool:
    """Move what is a place in a training of length `old`; return whether anything is left."""
    new_warmup = min(warmup, new // 2)
    new_warmup = new_warmup if new_warmup > 1 else 0  # mmengine's first step stays at the factor

    def moved(place: int) -> int:
        if place >= INF:
            return place
        if place <= warmup:
            return round(place * new_warmup / warmup) if warmup else place
        return new_warmup + round((place - warmup) * (new - new_warmup) / (old - warmup))

    begin, end = scheduler.get('begin', 0), scheduler.get('end', INF)
    start = moved(begin)
    for key in _DURATIONS:
        if scheduler.get(key):
            scheduler[key] = max(1, moved(begin + scheduler[key]) - start)
    if 'milestones' in scheduler:
        places = {max(1, moved(begin + place) - start) for place in scheduler['milestones']}
        scheduler['milestones'] = sorted(place for place in places if start + place < new)
    if 'periods' in scheduler:
        places = [moved(begin + place) for place in (0, *accumulate(scheduler['periods']))]
        scheduler['periods'] = [max(1, b - a) for a, b in pairwise(places)]
    if 'step_size' in scheduler:
        scheduler['step_size'] = max(1, round(scheduler['step_size'] * new / old))
    for key, place in (('begin', start), ('end', moved(end))):
        if key in scheduler:
            scheduler[key] = place
    return moved(end) > start
