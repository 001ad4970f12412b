"""Images/s of whole labelling, networks included, with the networks that users run: `rows()` for `make bench`.

`transferseg label`'s own work in one process with all its threads, from the images' files to the written masks, at the
default label settings. The networks have random weights: what they find changes the time by little. Rates leave out
start-up and tail, see `benchmarks.labels_beam`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.labels_beam import measure, prepare, write_inputs
from benchmarks.rows import row

IMAGES = 120
SETTINGS = {"tiny_129": ("tiny", 129), "mobilenet_v2_321": ("mobilenet_v2", 321), "vgg16_321": ("vgg16", 321)}


def rows() -> list[dict]:
    """A rate for each pair of backbone and image size, and its peak memory in the note."""
    found = []
    for name, network in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), *network)
            write_inputs(Path(folder), IMAGES)
            run = measure(Path(folder), "one", IMAGES, threads={})
        note = f"{run['rss_mb']:.0f} MB at most"
        found.append(row(f"labels.images_per_s.{name}", run["rate"], "images/s", note=note))
    return found
