"""SavedModels in Beam workers: loaded once a process, run on batches of one size, faults kept to the guilty image.

Every network call has exactly `batch_size` rows (the last ones repeated), so an image's answer does not depend on its
neighbours, and TensorFlow compiles one shape. The models resize inside, so images of all sizes share a batch. Models
that look in tiles make one call a tile inside, so they get one image at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.utils.shared import Shared
from threadpoolctl import threadpool_limits

from components.beam_masks.deadline import OutOfTime, within
from components.beam_masks.faults import dead_letter
from components.beam_masks.images import DEAD, Sample, unpack
from components.beam_masks.masks import Result
from serving.prediction_counts import MASKS_AND_SCORES
from serving.saved_model import load_saved_model, read_metadata
from trainer.errors import ImageFault, Stage
from trainer.inference.looks import Look, limit_of, look_of
from trainer.threads import cores

BATCH_SIZE = 8  # our choice: images a network call
TIMEOUT_S = 120.0  # our choice: for decoding an image, a network call (a megapixel of it in tiles), the rest of one
_PIXELS_AT_ONCE = 80_000_000  # our choice: of unpacked pictures in a network call, in pixels of three bytes


class Networks:
    """SavedModels with the signature string [B] `image_bytes` -> dict of tensors with B rows."""

    def __init__(self, directories: Sequence[str], batch_size: int, threads: int | None):
        """Loads the models. `threads` limits TensorFlow to its share of the machine; None leaves it alone."""
        import tensorflow as tf  # the heavy import happens once, in the process that needs it

        if threads:
            try:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            except RuntimeError:
                pass  # TensorFlow already runs in this process: its threads were chosen by someone else
        self._tensor = tf.constant
        self._models = [load_saved_model(directory) for directory in directories]
        looks, limits = zip(*map(look_and_limit, directories), strict=True)
        self.tiled, self.limit = any(look.overlap is not None for look in looks), min(limits)
        self.image_sizes = [look.size for look in looks]
        self.rows = 1 if self.tiled else batch_size

    def run(self, images: Sequence[bytes]) -> list[Outputs]:
        """For each image, each model's outputs, of a segmentation network its scores too; a call has `rows` images."""
        calls = (images[first : first + self.rows] for first in range(0, len(images), self.rows))
        return [row for call in calls for row in self._call(call)]

    def _call(self, images: Sequence[bytes]) -> list[Outputs]:
        padded = list(images) + [images[-1]] * (self.rows - len(images))
        rows: list[Outputs] = [[] for _ in images]
        for model in self._models:
            ask = model.signatures.get(MASKS_AND_SCORES) or model.signatures["serving_default"]
            outputs = {name: value.numpy() for name, value in ask(image_bytes=self._tensor(padded)).items()}
            for i, row in enumerate(rows):
                row.append({name: value[i] for name, value in outputs.items()})
        return rows


def look_and_limit(directory: str) -> tuple[Look, int]:
    """How an exported model looks at pictures, and the most pixels it takes."""
    about = read_metadata(directory)
    return look_of(about), limit_of(about)


@dataclass(frozen=True)
class _Ready:
    """A sample with what `unpack` makes of it; `count` pixels, which are kept only if they are needed again."""

    sample: Sample
    pixels: np.ndarray | None
    count: int
    encoded: bytes


@dataclass(frozen=True)
class _Failed:
    sample: Sample
    fault: ImageFault


Outputs = list[dict[str, np.ndarray]]
# (sample, uint8 [H, W, 3] if it needs pixels, each model's outputs, each model's image size) -> result
Finish = Callable[[Sample, np.ndarray | None, Outputs, list[int]], Result]


class RunNetworks(beam.DoFn):
    """Samples -> Results, in their order; dead letters go to the output `dead`.

    While the pictures of one network call are finished, on a thread a core, the next call is under way.
    """

    def __init__(
        self,
        directories: Sequence[str],
        finish: Finish,
        *,
        max_pixels: int,
        batch_size: int = BATCH_SIZE,
        threads: int | None = None,
        timeout_s: float = TIMEOUT_S,
        needs_pixels: bool = True,
    ):
        """Args:
        directories: SavedModels on a path that every worker sees.
        finish: turns the outputs into a Result; importable and picklable; what it raises is a dead letter.
        max_pixels: larger images are refused before they are decoded.
        batch_size: rows of every network call.
        threads: see `Networks`.
        timeout_s: seconds after which the decoding of an image, a network call, or the rest of one image's work is
          given up as a dead letter.
        needs_pixels: `finish` gets the picture's pixels; else None, and they take no memory beside the networks.
        """
        self._timeout_s, self._needs_pixels = timeout_s, needs_pixels
        self._load = (tuple(directories), batch_size, threads)
        self._finish, self._max_pixels, self._threads = finish, max_pixels, threads
        self._shared = Shared()
        self._networks: Networks | None = None

    def setup(self) -> None:
        # What follows works on small matrices, where a second BLAS thread gains little; and where other workers or
        # programs share the cores, threads that wait for each other take 15 times as long.
        threadpool_limits(1, user_api="blas")
        self._networks = self._shared.acquire(lambda: Networks(*self._load))

    def process(self, samples: Iterable[Sample]) -> Iterator[Result | beam.pvalue.TaggedOutput]:
        """Any number of samples, which may be read as they are asked for: two calls' worth of them are held."""
        with ThreadPoolExecutor(self._threads or cores()) as pool:
            earlier: list[Future] = []
            for call in self._calls(samples):
                outputs = iter(self._run([one for one in call if isinstance(one, _Ready)]))
                given = (next(outputs) if isinstance(one, _Ready) else None for one in call)
                under_way = [pool.submit(self._finished, *pair) for pair in zip(call, given, strict=True)]
                yield from map(_output, earlier)
                earlier = under_way
            yield from map(_output, earlier)

    def _calls(self, samples: Iterable[Sample]) -> Iterator[list[_Ready | _Failed]]:
        """What one network call takes, and the images between that cannot go there."""
        call: list[_Ready | _Failed] = []
        for sample in samples:
            call.append(self._unpacked(sample))
            counts = [one.count for one in call if isinstance(one, _Ready)]
            if len(counts) == self._networks.rows or sum(counts) > _PIXELS_AT_ONCE:
                yield call
                call = []
        yield call

    def _unpacked(self, sample: Sample) -> _Ready | _Failed:
        try:
            pixels, encoded = self._in_time("decode", unpack, sample.image, self._max_pixels, self._networks.limit)
        except ImageFault as fault:
            return _Failed(sample, fault)
        return _Ready(sample, pixels if self._needs_pixels else None, pixels.size // 3, encoded)

    def _in_time(self, stage: Stage, function: Callable[..., Any], *arguments: object) -> Any:
        """function(*arguments); whatever goes wrong in it is the image's fault in this stage."""
        try:
            return within(self._timeout_s, function, *arguments)
        except ImageFault:
            raise
        except OutOfTime as error:
            raise ImageFault(stage, error) from error
        except Exception as error:
            raise ImageFault(stage, f"{type(error).__name__}: {error}") from error

    def _run(self, ready: list[_Ready]) -> list[Outputs | ImageFault]:
        """One call for all; if that fails, one call each, so that only the guilty image is lost."""
        if not ready:
            return []
        megapixels = sum(one.count for one in ready) / 1e6
        seconds = self._timeout_s * max(1.0, megapixels if self._networks.tiled else 1.0)
        try:
            return within(seconds, self._networks.run, [one.encoded for one in ready])
        except Exception as error:
            if len(ready) == 1:
                return [ImageFault("network", error)]
            return [self._run([one])[0] for one in ready]

    def _finished(self, one: _Ready | _Failed, outputs: Outputs | ImageFault | None) -> Result | _Failed:
        if isinstance(one, _Failed):
            return one
        try:
            if isinstance(outputs, ImageFault):
                raise outputs
            return self._in_time("label", self._finish, one.sample, one.pixels, outputs, self._networks.image_sizes)
        except ImageFault as fault:
            return _Failed(one.sample, fault)


def _output(future: Future) -> Result | beam.pvalue.TaggedOutput:
    """Counted here: Beam's counters know the thread that it calls alone."""
    done = future.result()
    if isinstance(done, Result):
        return done
    beam.metrics.Metrics.counter("transferseg", f"dead_{done.fault.stage}").inc()
    return beam.pvalue.TaggedOutput(DEAD, dead_letter(done.sample.key, done.fault))


def threads_per_worker(options: PipelineOptions) -> int | None:
    """Cores for each process when Beam runs several here, else None (TensorFlow takes what there is)."""
    options = options.view_as(DirectOptions)
    if options.direct_running_mode != "multi_processing":
        return None
    return max(1, cores() // (options.direct_num_workers or cores()))
