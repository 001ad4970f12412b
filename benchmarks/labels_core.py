"""Speed of the weak-label core on one thread: `rows()` for `make bench`.

Work: superpixels, features, graph, solve and assignment of a 500 x 375 image with 300 superpixels.

The floor. The image is read once (0.56 MB) and the mask written once (0.19 MB): 0.1 ms at 10 GB/s. Arithmetic, with
P = 76,800 working pixels (16 x 16 a superpixel), N = 300: SLIC's distances 9 x 6 x 2 x P x (1 + 5/4) = 19 MFLOP, the
second-neighbour product 2 N^3 = 54 MFLOP, the Cholesky inverse N^3 = 27 MFLOP: together 0.1 GFLOP, about 4 ms at the 25
GFLOP/s of one AVX2 core on small matrices. The rest is memory passes over the [300, 9, 256] distances (2.8 MB) and
interpreter overhead of some 250 numpy calls.

Quality: label mIoU on 200 real images beside the same method on scikit-image's SLIC and Felzenszwalb. The maps come
from the truth, blurred and shifted as networks would blur and shift them, so that only the superpixels differ.

Times are CPU time of a process held to one thread: what one core needs, whatever else the machine does.
"""

import time
import warnings
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image
from skimage.segmentation import random_walker, slic

from benchmarks.process import in_process
from benchmarks.rows import real_files, row
from components.weak_labels.core.assignment import assign
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import diffuse, label_image
from components.weak_labels.core.region_graph import adjacency, edge_weights, region_means
from components.weak_labels.core.seeds import find_seeds
from components.weak_labels.core.superpixels import segment, superpixels
from trainer.data.categories import VOID, named_split
from trainer.metrics import confusion_matrix, scores

TARGET_MS = 40
QUALITY_IMAGES, EQUAL = 200, 0.999  # of the reference's mIoU counts as equal
SIZE = 500, 375
TAGS = [1, 2]
METHODS = ("cells", "slic", "felzenszwalb")  # of LabelConfig.superpixel_method, ours first


def rows() -> list[dict]:
    """Measures on up to 8 images of TRANSFERSEG_DATA, or on a synthetic one. Times are median milliseconds.

    In a process of its own, since BLAS reads its number of threads once, when numpy is first imported.
    """
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return in_process("labels_core", "_measure", environment=one_thread)


def _measure(repeats: int = 15) -> list[dict]:
    cv2.setNumThreads(1)
    settings, images = LabelConfig(), _images()
    objectness, activations = _maps()

    def whole(image: np.ndarray) -> None:
        label_image(image, objectness, activations, TAGS, settings)

    times = {"core_ms": _median_ms(whole, images, repeats)}
    times |= _parts(images[0], objectness, activations, settings, repeats)
    reference = _median_ms(lambda image: slic(image, 300, compactness=20, start_label=0), images[:2], 3)
    walker = _random_walker_ms(images[0], objectness, activations, settings)
    core = times.pop("core_ms")
    return [
        row("labels.core_ms", core, "ms", target=TARGET_MS, ok=core <= TARGET_MS),
        row("labels.vs_random_walker", core, "ms", walker, walker / core, 1.0, walker > core),
        row("labels.superpixels_ms", times.pop("superpixels_ms"), "ms", reference),
        *(row(f"labels.{method}_ms", _method_ms(images[:2], method), "ms") for method in METHODS[1:]),
        *(row(f"labels.{name}", value, "ms") for name, value in times.items()),
        *_quality(settings),
    ]


def _quality(settings: LabelConfig) -> list[dict]:
    """Label mIoU with our superpixels over that with scikit-image's; nothing without TRANSFERSEG_DATA."""
    masks = real_files("SegmentationClass")
    if not masks:
        return []
    counts = {method: np.zeros((21, 22), np.int64) for method in METHODS}
    for path in masks[:: max(1, len(masks) // QUALITY_IMAGES)][:QUALITY_IMAGES]:
        image = cv2.imread(str(path.parents[1] / "JPEGImages" / f"{path.stem}.jpg"))[..., ::-1].copy()
        truth = np.array(Image.open(path))
        objectness, activations, tags = _maps_of_truth(truth)
        for method in METHODS:
            own = settings.model_copy(update={"superpixel_method": method})
            counts[method] += confusion_matrix(truth, label_image(image, objectness, activations, tags, own).mask, 21)
    ours, slic_, felzenszwalb = (scores(count, named_split("voc-split-1")).miou for count in counts.values())
    return [
        row(f"labels.miou_over_{name}", ours, "mIoU", other, ours / other, EQUAL, ours / other >= EQUAL)
        for name, other in (("reference", slic_), ("felzenszwalb", felzenszwalb))
    ]


def _method_ms(images: list[np.ndarray], method: str) -> float:
    """Superpixels by another method, at the resolution that ours work at."""
    return _median_ms(lambda image: segment(image, 300, 20.0, method), images, 3)


def _maps_of_truth(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """M and activations float32 in 0..1 from a mask: blurred and shifted; and the tags."""
    tags = [int(tag) for tag in np.unique(truth) if tag not in (0, VOID)]
    shift = np.float32([[1, 0, 8], [0, 1, 6]])

    def seen(mask: np.ndarray, blur: float) -> np.ndarray:
        moved = cv2.warpAffine(mask.astype(np.float32), shift, mask.shape[::-1])
        return cv2.GaussianBlur(moved, (0, 0), blur)

    activations = [seen(truth == tag, 25) for tag in tags]
    return seen((truth > 0) & (truth != VOID), 12), np.dstack([a / max(a.max(), 1e-6) for a in activations]), tags


def _parts(
    image: np.ndarray, objectness: np.ndarray, activations: np.ndarray, settings: LabelConfig, repeats: int
) -> dict[str, float]:
    """The steps of `label_image` one by one (each on the previous one's result): name -> milliseconds."""
    times = {}

    def step(name: str, work: Callable[[], object]) -> object:
        times[f"{name}_ms"] = _median_ms(lambda _: work(), [image], repeats)
        return work()

    labels, lab = step("superpixels", lambda: superpixels(image, settings.superpixels, settings.compactness))
    maps = cv2.resize(np.dstack([objectness, activations]), labels.shape[::-1], interpolation=cv2.INTER_AREA)
    features = step("features", lambda: np.hstack([region_means(labels, lab), region_means(labels, maps)]))
    objects, active = features[:, 3], features[:, 4:]
    linked = step("graph", lambda: adjacency(labels, settings.second_neighbours, settings.border_links))
    weights = step("weights", lambda: edge_weights(features[:, :4], linked, settings.sigma))
    seeds = find_seeds(active, objects, settings)
    q = step("solve", lambda: diffuse(weights, seeds, settings))
    step("assignment", lambda: assign(q, objects, TAGS, settings)[labels])
    return times


def _random_walker_ms(
    image: np.ndarray, objectness: np.ndarray, activations: np.ndarray, settings: LabelConfig
) -> float:
    """scikit-image's pixel-wise random walker (cg_j) from the same seeds: one run, milliseconds."""
    labels, _ = superpixels(image, settings.superpixels, settings.compactness)
    maps = cv2.resize(np.dstack([objectness, activations]), labels.shape[::-1], interpolation=cv2.INTER_AREA)
    means = region_means(labels, maps)
    seeds = find_seeds(means[:, 1:], means[:, 0], settings)
    marks = np.where(seeds.any(1), seeds.argmax(1) + 1, 0).astype(np.uint8)[labels]
    marks = cv2.resize(marks, image.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _median_ms(lambda _: random_walker(image, marks, mode="cg_j", channel_axis=-1), [image], 1)


def _median_ms(work: Callable[[np.ndarray], object], images: list[np.ndarray], repeats: int) -> float:
    """Median time of `repeats` calls an image, after one to warm up."""
    if repeats > 1:
        work(images[0])
    times = []
    for image in images:
        for _ in range(repeats):
            start = time.process_time()
            work(image)
            times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def _images() -> list[np.ndarray]:
    """uint8 [375, 500, 3] RGB each."""
    files = real_files("JPEGImages")
    if not files:
        noise = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
        return [cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)]
    found = []
    for path in files[:60]:
        image = cv2.imread(str(path))
        if image.shape[1::-1] == SIZE and len(found) < 8:
            found.append(np.ascontiguousarray(image[..., ::-1]))
    return found


def _maps() -> tuple[np.ndarray, np.ndarray]:
    """Objectness float32 [375, 500] and activations float32 [375, 500, 2]: two blobs and their hot spots."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)

    def bump(centre_x: float, radius: float) -> np.ndarray:
        return np.exp(-((x - centre_x) ** 2 + (y - 190) ** 2) / (2 * radius**2))

    return np.maximum(bump(140, 70), bump(360, 70)), np.dstack([bump(140, 30), bump(360, 30)])
