"""Quiet libraries, and where the real data is."""

import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from hypothesis import settings

import trainer  # noqa: F401  before TensorFlow, as in every program of ours

settings.register_profile("shared-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("shared-machine")
gc.disable()  # until all is imported, as `pipeline.cli.common.loading` says


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: the short ones then fill up the processes, which so end together."""
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in ("e2e", "slow", "soak"))}
    items.sort(key=lambda item: item.path not in long)


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
def models(tmp_path_factory) -> dict[str, Path]:
    """Exported networks that see the scenes of `labelling_samples` by colour, untrained: kind -> SavedModel."""
    from labelling_samples import export_cam, export_l_net, export_masks

    root = tmp_path_factory.mktemp("models")
    return {
        "cam": export_cam(root / "cam"),
        "l_net": export_l_net(root / "l_net"),
        "segmentation": export_masks(root / "segmentation"),
    }
