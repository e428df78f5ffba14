"""Work in another thread, in order."""

import threading
import time

import pytest

from mbv2_backbone.workbench.predict.background import in_background, mapped


def test_background_keeps_the_order_and_works_in_one_other_thread():
    threads = set()

    def make():
        for i in range(20):
            threads.add(threading.get_ident())
            yield i

    assert list(in_background(make(), ahead=3)) == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert list(in_background([], ahead=3)) == []


def test_background_makes_no_more_than_it_may():
    made = []

    def make():
        for i in range(50):
            made.append(i)
            yield i

    items = in_background(make(), ahead=4)
    next(items)
    time.sleep(0.1)
    assert len(made) == 5  # the one that was taken, and four ahead
    items.close()
    time.sleep(0.1)
    assert len(made) == 5


def test_an_error_in_the_background_is_raised_in_its_place():
    def make():
        yield 1
        raise ValueError('broken')

    items = in_background(make(), ahead=4)
    assert next(items) == 1
    with pytest.raises(ValueError, match='broken'):
        next(items)


def test_mapped_results_come_in_order_however_long_each_takes():
    def late(i):
        time.sleep(0.03 if i % 3 == 0 else 0)
        return i * i

    assert list(mapped(late, range(10), threads=3)) == [i * i for i in range(10)]
    assert list(mapped(late, [], threads=3)) == []


def test_an_error_in_a_mapped_function_is_raised_in_its_place():
    found = mapped(lambda i: 1 // (2 - i), range(5), threads=2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)
