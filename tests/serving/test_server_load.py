"""Hundreds of calls of both kinds at once, good and bad; every answer right, all counted, also after ten minutes."""

import gc
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from commands import TIMEOUT_S
from serving_samples import draw, encode, read_mask

from serving.client import SegmentationClient
from serving.local_server.server import serve
from trainer.errors import UserError

CLIENTS, CALLS = 12, 40
SIZES = [(40, 60), (90, 30), (64, 64), (20, 120)]


def counted(server) -> dict[str, float]:
    text = requests.get(f"http://127.0.0.1:{server.rest_port}/metrics").text
    found = re.findall(r'transferseg_requests_total{code="(\w+)",method="[pP]redict",transport="\w+"} ([\d.]+)', text)
    return {code: sum(float(n) for other, n in found if other == code) for code, _ in found}


@pytest.mark.slow
def test_every_call_under_load_gets_its_own_answer(saved_model, signatures):
    server = serve(saved_model, grpc_port=0, rest_port=0)
    try:
        assert load(server, signatures, lambda: range(CALLS)) == CLIENTS * CALLS
    finally:
        server.stop()


@pytest.mark.soak
def test_ten_minutes_of_load_leave_nothing_behind(saved_model, signatures):
    server = serve(saved_model, grpc_port=0, rest_port=0)
    try:
        load(server, signatures, lambda: range(CALLS))  # what stays after the first calls may stay
        gc.collect()
        process = psutil.Process(os.getpid())
        memory, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
        end = time.monotonic() + 600
        print(
            load(server, signatures, lambda: itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()))
        )
        gc.collect()
        assert process.memory_info().rss < memory + 200 * 2**20  # our choice
        assert process.num_fds() <= files + 10 and process.num_threads() <= threads + 20
    finally:
        server.stop()


def load(server, signatures, calls_of_a_client: Callable[[], Iterable[int]]) -> int:
    """Lets all clients call at once and checks every answer, and the server's own count; the number of calls."""
    images = [encode(draw(*size, seed), "JPEG") for seed, size in enumerate(SIZES)]
    alone = [signatures["serving_default"](image_bytes=[image])["mask_bytes"].numpy()[0] for image in images]
    before, batches = counted(server), number_of_batches(server)

    def one_client(number: int) -> tuple[int, int, list[str]]:
        """(calls, bad ones among them, wrong answers)."""
        transport, port = ("grpc", server.grpc_port) if number % 2 else ("rest", server.rest_port)
        calls, bad, wrong = 0, 0, []
        with SegmentationClient(f"127.0.0.1:{port}", transport=transport, timeout=TIMEOUT_S) as client:
            for call in calls_of_a_client():
                calls += 1
                which = [(number + call + i) % len(images) for i in range(1 + call % 3)]
                if call % 5 == 4:  # a bad image among good ones refuses that call alone
                    bad += 1
                    with pytest.raises(UserError, match="not a JPEG"):
                        client.predict([images[0], b"text"])
                    continue
                for i, mask in zip(which, client.predict([images[i] for i in which]), strict=True):
                    if (read_mask(mask) != read_mask(alone[i])).mean() > 0.001:  # other batches round differently
                        wrong.append(f"client {number}, call {call}, image {i}")
        return calls, bad, wrong

    with ThreadPoolExecutor(CLIENTS) as pool:
        calls, bad, wrong = zip(*pool.map(one_client, range(CLIENTS)), strict=True)
    assert list(wrong) == [[]] * CLIENTS
    after = {code: number - before.get(code, 0) for code, number in counted(server).items()}
    assert after == {"OK": sum(calls) - sum(bad), "INVALID_ARGUMENT": sum(bad)}
    assert server.service.batcher.waiting() == 0
    assert number_of_batches(server) - batches < sum(calls)  # batches were made across requests
    return sum(calls)


def number_of_batches(server) -> int:
    text = requests.get(f"http://127.0.0.1:{server.rest_port}/metrics").text
    found = re.search(r"transferseg_batch_size_count ([\d.]+)", text)
    return int(float(found[1])) if found else 0
