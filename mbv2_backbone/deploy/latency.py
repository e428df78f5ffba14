"""How long calls take, measured in turn so that a busy moment meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def latencies(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 30, warmup: int = 5
) -> dict[str, float]:
    """Return the median time of each call in milliseconds.

    Args:
        calls: Functions without arguments, for example `lambda: predictor(image)`.
        repeats: Rounds; each round times every call once.
        warmup: Rounds before, that are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(warmup + repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if i >= warmup:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) * 1000 for name, values in times.items()}
