"""Work in threads: results in order, few items held, an error reaches the caller."""

import os
import time

import pytest

from trainer.threads import in_threads


def test_results_keep_the_order_of_their_items():
    def slow_if_even(item):
        time.sleep(0.01 * (item % 2 == 0))
        return -item

    assert list(in_threads(slow_if_even, range(20))) == [-item for item in range(20)]


def test_no_more_than_two_items_a_core_are_taken_ahead():
    taken = []
    results = in_threads(lambda item: item, (taken.append(i) or i for i in range(1000)))
    next(results)
    assert len(taken) == 2 * len(os.sched_getaffinity(0))
    results.close()


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 / item, [1, 0, 2]))
