"""Batch labelling in Beam against a bare Python loop over the same functions: `rows()` for `make bench`.

Every run is a fresh process with one thread for each worker, on a machine with at least two cores. A rate is taken from
the times of the written masks, between the 20th and the 80th percentile: start-up (imports, loading the models, about
20 s a worker process) and the tail, where one worker may idle, are left out. What start-up costs is in the row
`labels.beam_startup_2_s`: two processes pay from that many seconds of work on.

The models are the `tiny` backbone with random weights at 129 pixels: the less the networks cost, the more Beam's share
shows. Images are those of TRANSFERSEG_DATA, or noise, cycled. TRANSFERSEG_BENCH_IMAGES (10000) caps the long run.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.process import in_process, peak_memory_mb
from benchmarks.rows import real_files, row

SHORT, MEDIUM = 100, 400
MULTI = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
MAX_OVERHEAD, MIN_SPEEDUP, FLAT = 1.10, 1.8, 0.1  # targets; flat: within a tenth
_NAMES = [f"c{i}" for i in range(1, 21)]
_ONE_THREAD = dict.fromkeys(
    ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)


def rows() -> list[dict]:
    """Overhead and speed-up as ratios; rate and peak memory of the long run over those of 100 images."""
    long = int(os.environ.get("TRANSFERSEG_BENCH_IMAGES", "10000"))
    medium = min(MEDIUM, long)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, "tiny", 129)
        for count in {SHORT, medium, long}:
            write_inputs(root, count)
        loop, one, two = measure(root, "loop", medium), measure(root, "one", medium), measure(root, "two", medium)
        few, many = measure(root, "one", SHORT), measure(root, "one", long)
    overhead, speedup = loop["rate"] / one["rate"], two["rate"] / one["rate"]
    rate, rss = many["rate"] / few["rate"], many["rss_mb"] / few["rss_mb"]
    return [
        row("labels.beam_overhead", one["rate"], "images/s", loop["rate"], overhead, MAX_OVERHEAD, overhead <= 1.1),
        row("labels.beam_speedup_2", two["rate"], "images/s", one["rate"], speedup, MIN_SPEEDUP, speedup >= 1.8),
        row("labels.beam_startup_2_s", two["startup_s"], "s", one["startup_s"]),
        row("labels.rate_10k_over_100", many["rate"], "images/s", few["rate"], rate, 1 - FLAT, rate >= 1 - FLAT),
        row("labels.rss_10k_over_100", many["rss_mb"], "MB", few["rss_mb"], rss, 1 + FLAT, rss <= 1 + FLAT),
    ]


def prepare(root: Path, backbone: str, image_size: int) -> None:
    """Models and images that every run shares, made in a process of their own."""
    in_process("labels_beam", "_prepare", str(root), backbone, image_size)


def measure(root: Path, how: str, count: int, threads: dict[str, str] = _ONE_THREAD) -> dict:
    """Labels `count` images in a fresh process: rate (images/s), rss_mb (peak), startup_s (to the first mask)."""
    output = Path(tempfile.mkdtemp(dir=root)) / "masks"  # new each time: what is labelled already is not made again
    started = time.time()
    peak = in_process("labels_beam", "_label", how, str(root), count, str(output), environment=threads)
    written = np.sort([path.stat().st_mtime for path in output.glob("*.png")])
    first, last = round(0.2 * len(written)), round(0.8 * len(written))
    return {
        "rate": float((last - first) / (written[last] - written[first])),
        "startup_s": float(written[0] - started),
        "rss_mb": peak,
    }


def write_inputs(root: Path, count: int) -> None:
    """<root>/images<count> (links) and tags<count>.csv: the images, cycled, one or two tags each."""
    sources = sorted((root / "sources").iterdir())
    folder = root / f"images{count}"
    folder.mkdir()
    lines = ["image,tags"]
    for i in range(count):
        (folder / f"i{i:05d}.jpg").symlink_to(sources[i % len(sources)])
        lines.append(f"i{i:05d},{'|'.join(_NAMES[(i + j) % 20] for j in range(i % 2 + 1))}")
    (root / f"tags{count}.csv").write_text("\n".join(lines) + "\n")


def _prepare(folder: str, backbone: str, image_size: int) -> None:
    from serving.export import export_maps
    from trainer.data.categories import Categories
    from trainer.models.cam import build_cam
    from trainer.models.large_fov import build_segmentation

    root, categories = Path(folder), Categories(tuple(_NAMES), ())
    for kind, net in (("cam", build_cam(backbone, 20, None, 0)), ("l_net", build_segmentation(backbone, 1, None, 0))):
        export_maps(net, root / kind, kind=kind, image_size=image_size, categories=categories, metadata={})
    (root / "sources").mkdir()
    if files := real_files("JPEGImages"):
        for path in files:
            (root / "sources" / path.name).symlink_to(path.resolve())
        return
    rng = np.random.default_rng(0)
    for i in range(20):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (375, 500, 3), np.uint8), (0, 0), 4)
        cv2.imwrite(str(root / "sources" / f"{i:02d}.jpg"), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))


def _label(how: str, folder: str, count: int, output: str) -> float:
    """Labels; the peak memory in MB."""
    from components.weak_labels.label_folder import label_folder

    root = Path(folder)
    inputs = (root / "l_net", root / "cam", root / f"images{count}", root / f"tags{count}.csv", Path(output))
    if how == "loop":
        _loop(*inputs)
    else:
        label_folder(*inputs, beam_args=MULTI if how == "two" else [])
    return peak_memory_mb()


def _loop(l_net: Path, cam: Path, images: Path, tags_csv: Path, output: Path) -> None:
    """The same work without Beam: read, label, write."""
    from components.beam_masks.images import ReadImages, list_images
    from components.beam_masks.masks import WriteMasks
    from components.weak_labels.core.label_config import LabelConfig
    from components.weak_labels.folder_inputs import plan
    from components.weak_labels.transform import label_networks
    from serving.export import read_categories
    from trainer.data.pictures import MAX_PIXELS
    from trainer.data.tags_table import read_tags_table

    output.mkdir()
    sources, _ = plan(list_images(images)[0], read_tags_table(tags_csv), read_categories(cam, "cam"))
    networks = label_networks(str(cam), str(l_net), LabelConfig(), max_pixels=MAX_PIXELS)
    read, write = ReadImages(str(output), ""), WriteMasks(str(output))
    networks.setup()
    samples = (sample for source in sources for sample in read.process(source))
    for result in networks.process(samples):
        list(write.process(result))
