"""A bounded load test: hundreds of calls of both kinds at once, good and bad; every answer right, all counted."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
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
    images = [encode(draw(*size, seed), "JPEG") for seed, size in enumerate(SIZES)]
    alone = [signatures["serving_default"](image_bytes=[image])["mask_bytes"].numpy()[0] for image in images]
    server = serve(saved_model, grpc_port=0, rest_port=0)

    def one_client(number: int) -> list[str]:
        transport, port = ("grpc", server.grpc_port) if number % 2 else ("rest", server.rest_port)
        wrong = []
        with SegmentationClient(f"127.0.0.1:{port}", transport=transport, timeout=120) as client:
            for call in range(CALLS):
                which = [(number + call + i) % len(images) for i in range(1 + call % 3)]
                if call % 5 == 4:  # a bad image among good ones refuses that call alone
                    with pytest.raises(UserError, match="not a JPEG"):
                        client.predict([images[0], b"text"])
                    continue
                for i, mask in zip(which, client.predict([images[i] for i in which]), strict=True):
                    if (read_mask(mask) != read_mask(alone[i])).mean() > 0.001:  # other batches round differently
                        wrong.append(f"client {number}, call {call}, image {i}")
        return wrong

    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            assert list(pool.map(one_client, range(CLIENTS))) == [[]] * CLIENTS
        bad = CLIENTS * len(range(4, CALLS, 5))
        assert counted(server) == {"OK": CLIENTS * CALLS - bad, "INVALID_ARGUMENT": bad}
        assert server.service.batcher.waiting() == 0
        sizes = requests.get(f"http://127.0.0.1:{server.rest_port}/metrics").text
        calls = int(float(re.search(r"transferseg_batch_size_count ([\d.]+)", sizes)[1]))
        assert calls < CLIENTS * CALLS  # batches were made across requests
    finally:
        server.stop()
