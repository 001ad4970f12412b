"""Quiet libraries, and where the real data is."""

import functools
import gc
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from hypothesis import HealthCheck, settings

import trainer  # noqa: F401  before TensorFlow, as in every program of ours

KEPT = 8  # exported networks in memory
_FIRST = ["test_reruns", "test_first_hour", "test_experiment", "test_whole_pipeline", "test_beam_workers"]
# A busy machine is no failure, nor is luck.
settings.register_profile(
    "shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("shared-machine")
gc.disable()  # until all is imported, as `pipeline.cli.common.loading` says


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the longest tests first: the short ones then fill up the processes, which so end together.

    The fourth of `_FIRST` waits for a run that the first makes.
    """
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in ("e2e", "slow", "soak"))}
    names = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: (item.path not in long, names.get(item.path.stem, len(names))))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def float32():
    """Whole runs in this process may leave another precision behind for the networks of the next test."""
    yield
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with voc12_ps20/ and coco_sample/, from TRANSFERSEG_DATA."""
    root = os.environ.get("TRANSFERSEG_DATA")
    if not root:
        pytest.skip("TRANSFERSEG_DATA is not set: no real images here")
    return Path(root)


@pytest.fixture(scope="session")
def loaded_once() -> Iterator[None]:
    """Lets this process load the same exported network once, wherever it lies: that and the first call take seconds."""
    import serving.model
    from components.beam_masks import networks
    from serving.local_server import models

    load, places = networks.load_saved_model, {}

    @functools.lru_cache(KEPT)
    def loaded(content: bytes) -> Any:
        return load(places[content])

    def load_once(directory: str | os.PathLike) -> Any:
        network = [Path(directory, "saved_model.pb"), *sorted(Path(directory, "variables").glob("*"))]
        content = hashlib.sha256(b"".join(path.read_bytes() for path in network)).digest()
        places[content] = directory
        return loaded(content)

    with pytest.MonkeyPatch.context() as patch:
        for module in (networks, serving.model, models):
            patch.setattr(module, "load_saved_model", load_once)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory, loaded_once) -> dict[str, Path]:
    """Exported networks that see the scenes of `labelling_samples` by colour, untrained: kind -> SavedModel."""
    from labelling_samples import export_cam, export_l_net, export_masks

    root = tmp_path_factory.mktemp("models")
    return {
        "cam": export_cam(root / "cam"),
        "l_net": export_l_net(root / "l_net"),
        "segmentation": export_masks(root / "segmentation"),
    }
