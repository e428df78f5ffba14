"""Alternating timing of several calls."""

import time

import numpy as np
import pytest
from measure.speed.timing import quartiles, time_in_turn, times_as_fast


def test_calls_alternate_and_warm_up_is_not_counted():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in 'abc'}
    waits = []
    seconds = time_in_turn(calls, rounds=3, warmup=1, synchronize=lambda: waits.append(1))
    assert ''.join(order) == 'abccbaabccba'
    assert list(seconds) == ['a', 'b', 'c']
    assert {len(values) for values in seconds.values()} == {3}
    assert len(waits) == 2 * len(order)
    order.clear()
    time_in_turn(calls, rounds=2, warmup=0, settle=1)
    assert ''.join(order) == 'aabbccccbbaa'


def test_a_call_is_charged_for_its_own_time():
    seconds = time_in_turn(
        {'slow': lambda: time.sleep(0.02), 'fast': lambda: None}, rounds=3, warmup=0
    )
    assert min(seconds['slow']) >= 0.02 > max(seconds['fast'])
    assert times_as_fast(seconds['fast'], seconds['slow'])['q1'] > 1


@pytest.mark.parametrize('wrong', [dict(calls={}), dict(rounds=0), dict(warmup=-1)])
def test_nothing_to_time_is_refused(wrong):
    with pytest.raises(ValueError, match='rounds'):
        time_in_turn(**dict(calls={'a': int}, rounds=1, warmup=0) | wrong)


def test_quartiles_and_ratios():
    rng = np.random.default_rng(0)
    values = rng.random(41)
    ordered = sorted(values)
    assert quartiles(values) == dict(median=ordered[20], q1=ordered[10], q3=ordered[30])
    other = rng.random(41) + 1
    expected = sorted(b / a for a, b in zip(values, other, strict=True))
    assert times_as_fast(values, other)['median'] == pytest.approx(expected[20])
    assert times_as_fast(values, values) == dict(median=1, q1=1, q3=1)
