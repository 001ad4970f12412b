"""Batching across requests, on a model we can hold still."""

import threading
from concurrent.futures import wait

import numpy as np
import pytest
import tensorflow as tf
from commands import TIMEOUT_S

from serving.local_server.batching import Batcher
from serving.local_server.status import ServingError


class SlowModel:
    """Echoes its input in upper case; `gate` holds it, b"bad" makes it refuse, b"crash" breaks it."""

    def __init__(self):
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches = []

    def run(self, signature, inputs):
        values = inputs["x"]
        self.batches.append(values.tolist())
        self.entered.release()
        assert self.gate.wait(TIMEOUT_S)
        if b"bad" in values.tolist():
            raise tf.errors.InvalidArgumentError(None, None, "assertion failed: [x: bad]")
        if b"\xff" in values.tolist():
            b"\xff".decode()  # as TensorFlow fails to say what is wrong with such bytes
        if b"crash" in values.tolist():
            raise RuntimeError("crash")
        return {"y": np.array([value.upper() for value in values], object)}


@pytest.fixture
def model():
    return SlowModel()


@pytest.fixture
def batcher(model):
    one = Batcher(max_batch_size=4, max_queue=5, workers=1, observe=lambda size: None)
    yield one
    model.gate.set()
    one.close()


def submit(batcher, model, *values, signature="s"):
    return batcher.submit(model, signature, "x", np.array(values, object))


def hold(batcher, model):
    """Occupies the only worker, so that what follows queues up."""
    future = submit(batcher, model, b"first")
    assert model.entered.acquire(timeout=TIMEOUT_S)
    return future


def test_queued_requests_share_batches_up_to_the_limit_and_get_their_own_rows(batcher, model):
    hold(batcher, model)
    futures = [submit(batcher, model, *values) for values in ([b"a"], [b"b", b"c"], [b"d", b"e"], [b"f"])]
    model.gate.set()
    answers = [future.result(TIMEOUT_S)["y"].tolist() for future in futures]
    assert answers == [
        [b"A"],
        [b"B", b"C"],
        [b"D", b"E"],
        [b"F"],
    ]
    assert model.batches == [[b"first"], [b"a", b"b", b"c", b"f"], [b"d", b"e"]]


def test_signatures_and_versions_never_mix(batcher, model):
    hold(batcher, model)
    other = SlowModel()
    other.gate.set()
    futures = [submit(batcher, model, b"a"), submit(batcher, model, b"b", signature="t"), submit(batcher, other, b"c")]
    model.gate.set()
    wait(futures, TIMEOUT_S)
    assert model.batches[1:] == [[b"a"], [b"b"]]
    assert other.batches == [[b"c"]]


def test_a_bad_image_fails_its_own_request_only(batcher, model):
    hold(batcher, model)
    good, bad, also_good = (submit(batcher, model, value) for value in (b"a", b"bad", b"c"))
    model.gate.set()
    assert good.result(TIMEOUT_S)["y"].tolist() == [b"A"]
    assert also_good.result(TIMEOUT_S)["y"].tolist() == [b"C"]
    with pytest.raises(ServingError, match="^x: bad$"):
        bad.result(TIMEOUT_S)


def test_a_crash_reaches_the_callers_and_the_worker_lives_on(batcher, model):
    model.gate.set()
    with pytest.raises(RuntimeError):
        submit(batcher, model, b"crash").result(TIMEOUT_S)
    assert submit(batcher, model, b"a").result(TIMEOUT_S)["y"].tolist() == [b"A"]


def test_a_full_queue_refuses_and_cancelled_requests_make_room(batcher, model):
    hold(batcher, model)
    queued = [submit(batcher, model, b"x") for _ in range(5)]
    with pytest.raises(ServingError, match="queue is full") as error:
        submit(batcher, model, b"y")
    assert error.value.code.name == "UNAVAILABLE"
    assert queued[0].cancel()
    late = submit(batcher, model, b"late")
    model.gate.set()
    assert late.result(TIMEOUT_S)["y"].tolist() == [b"LATE"]
    assert sum(batch.count(b"x") for batch in model.batches) == 4


@pytest.mark.parametrize("count", [0, 5])
def test_empty_and_oversized_batches_are_invalid(batcher, model, count):
    with pytest.raises(ServingError, match=f"x: a batch of {count}; send 1 to 4"):
        submit(batcher, model, *[b"a"] * count)


def test_closing_answers_what_is_queued_and_refuses_the_rest(model):
    batcher = Batcher(max_batch_size=4, max_queue=9, workers=1, observe=lambda size: None)
    first, second = hold(batcher, model), submit(batcher, model, b"a")
    model.gate.set()
    batcher.close()
    assert first.done() and second.result(0)["y"].tolist() == [b"A"]
    with pytest.raises(ServingError, match="shutting down"):
        submit(batcher, model, b"b")


@pytest.mark.parametrize(("bad", "error"), [(b"\xff", ServingError), (b"crash", RuntimeError)])
def test_whatever_is_wrong_with_one_request_the_others_of_its_batch_are_answered(batcher, model, bad, error):
    hold(batcher, model)
    futures = [submit(batcher, model, value) for value in (b"a", bad, b"b")]
    model.gate.set()
    wait(futures, TIMEOUT_S)
    assert [futures[i].result(0)["y"].tolist() for i in (0, 2)] == [[b"A"], [b"B"]]
    with pytest.raises(error, match="bytes that are no text|crash"):
        futures[1].result(0)
