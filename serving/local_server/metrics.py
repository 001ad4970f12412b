"""What Prometheus sees."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from serving.local_server.status import ServingError


class Metrics:
    """Counters of one server; each server has its own registry, so several fit in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "transferseg_requests", "Calls by outcome.", ["transport", "method", "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "transferseg_request_seconds", "Time per call.", ["transport", "method"], registry=self._registry
        )
        sizes = [1, 2, 4, 8, 16, 32, 64]
        self.batch_size = Histogram(
            "transferseg_batch_size", "Images per model call.", buckets=sizes, registry=self._registry
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge that is read when scraped."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def collect(self, collector: Collector) -> None:
        """Adds what another object counts."""
        self._registry.register(collector)

    @contextmanager
    def call(self, transport: str, method: str) -> Iterator[None]:
        """Counts and times one call; its code is that of the ServingError that ends it, or OK."""
        start, code = time.monotonic(), "OK"
        try:
            yield
        except ServingError as error:
            code = error.code.name
            raise
        except BaseException:
            code = "INTERNAL"
            raise
        finally:
            self._requests.labels(transport, method, code).inc()
            self._seconds.labels(transport, method).observe(time.monotonic() - start)

    def text(self) -> bytes:
        return generate_latest(self._registry)
