"""Time calls alternately, so that load on the machine affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Call = Callable[[], object]


def time_in_turn(
    calls: Mapping[str, Call],
    *,
    rounds: int,
    warmup: int,
    settle: int = 0,
    synchronize: Call | None = None,
) -> dict[str, list[float]]:
    """Time every call once a round; every second round goes backwards.

    Args:
        calls: What is timed, by name.
        rounds: Times that each call is timed, 1 or more.
        warmup: Rounds before, that are not counted.
        settle: Calls before each that is timed, not counted; threads of another runtime, which
            spin for a while after its turn, have gone to sleep by then.
        synchronize: Waits until the device has done its work; called before and after each call.

    Returns:
        Seconds of each round, by name, in the order of `calls`.

    Raises:
        ValueError: If there are no calls or rounds.
    """
    if not calls or rounds < 1 or warmup < 0:
        raise ValueError(
            f'expected calls, 1 or more rounds and 0 or more for warm-up, got {len(calls)} calls, '
            f'{rounds} rounds, {warmup} for warm-up'
        )
    wait = synchronize or (lambda: None)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(warmup + rounds):
        for name in list(calls)[:: -1 if i % 2 else 1]:
            for _ in range(settle):
                calls[name]()
            wait()
            begin = time.perf_counter()
            calls[name]()
            wait()
            if i >= warmup:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles `q1` and `q3` of one or more values."""
    q1, median, q3 = np.percentile(values, (25, 50, 75)).tolist()
    return dict(median=median, q1=q1, q3=q3)


def times_as_fast(seconds: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Compare two calls that were timed in the same rounds.

    Returns:
        The median and the quartiles of the rounds' ratios, above 1 where `seconds` are fewer.

    Example:
        >>> times_as_fast([1.0, 1.0, 1.0], [2.0, 2.0, 3.0])
        {'median': 2.0, 'q1': 2.0, 'q3': 2.5}
    """
    return quartiles([b / a for a, b in zip(seconds, reference, strict=True)])
