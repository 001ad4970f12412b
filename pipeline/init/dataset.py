"""What a folder in our layout holds: names, which have masks, lists; and a held-out list if it has none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from components.batch.masks import write_atomic
from components.dataset_import.writer import TAGS
from components.image_example_gen import voc
from pipeline.init.recognise import names_in
from trainer.categories import VOC
from trainer.data.files import read_bytes
from trainer.data.masks import ids_in, read_mask
from trainer.data.tags_table import read_tags_table
from trainer.errors import ImageFault, UserError

HOLD_OUT = 10  # open: every tenth image with a mask is for evaluation, where no list says which are


@dataclass(frozen=True)
class Found:
    """A dataset as it lies there.

    Attributes:
      names: categories by id.
      strong, weak: names with masks in the training list, names with tags alone.
      train, val: names of the lists.
      tags: whether there is a tags file.
      images: training images by category; `num_train` and `num_val` count lists.
      held_out: whether the evaluation list was made here.
      empty: masks that show no category.
      weak_scored: whether masks of evaluation images show a weak category.
    """

    names: list[str]
    strong: list[str]
    weak: list[str]
    train: str
    val: str
    tags: bool
    images: Counter
    num_train: int
    num_val: int
    held_out: bool
    weak_scored: bool
    empty: int


def look(root: Path, weak: list[str], names: list[str] | None, imported: bool = False) -> Found:
    """Reads lists, tags and masks; makes lists if there are none.

    Args:
      root: folder in our layout.
      weak: categories that are to count as weak although they have masks.
      names: categories by id; None: categories.txt, or VOC's.
      imported: whether the images were brought in just now, perhaps once more: those held out before stay held out.

    Raises:
      UserError: a name in `weak` is unknown, or fewer than two images have a mask.
    """
    names = names or names_in(root) or list(VOC)
    tags = _tags(root)
    keys = voc.keys(root)
    shown = {key: _shown(root, key, names) for key in tqdm(keys, desc="masks", unit="image", leave=False)}
    masked = [key for key in keys if shown[key] is not None]
    if len(masked) < 2:
        raise UserError(
            f"{root}: {len(masked) or 'no'} image has a mask. L-Net learns from masks of some categories, yours "
            f"or others': bring a dataset that has some into the same folder first (transferseg import ... --output "
            f"{root}), or label with an L-Net that you have (transferseg label --mode class-agnostic)"
        )
    train, val, held_out = _lists(root, keys, masked, imported)
    listed = voc.list_keys(root, train)
    images = Counter(name for key in listed for name in (tags.get(key) or shown.get(key) or ()))
    with_masks = {name for key in listed if shown.get(key) for name in shown[key]}
    unknown = sorted(set(weak) - set(names))
    if unknown:
        raise UserError(f"--weak {unknown[0]}: no such category; there are {', '.join(names)}")
    used = [name for name in names if name in images or name in with_masks]
    strong = [name for name in used if name in with_masks and name not in weak]
    evaluated = voc.list_keys(root, val)
    learned = [name for name in names if name not in strong]
    return Found(
        names,
        strong,
        learned,
        train,
        val,
        bool(tags),
        images,
        len(listed),
        len(evaluated),
        held_out,
        any(not set(learned).isdisjoint(shown.get(key) or ()) for key in evaluated),
        sum(not shown[key] for key in masked),
    )


def _lists(root: Path, keys: list[str], masked: list[str], imported: bool) -> tuple[str, str, bool]:
    """Names of the training and evaluation lists, and whether they were made here."""
    folder = voc.list_path(root, "").parent
    have = [path.stem for path in folder.glob("*.txt")] if folder.is_dir() else []
    train = next((name for name in ("train_aug", "train", "trainval") if name in have), None)
    val = next((name for name in ("val", "test") if name in have), None)
    if train and val and not imported:
        return train, val, False
    folder.mkdir(parents=True, exist_ok=True)
    known = voc.list_keys(root, train) if train else keys
    if val:
        held = set(voc.list_keys(root, val))
    else:
        listed = [key for key in known if key in set(masked)]
        held = set(listed[HOLD_OUT - 1 :: HOLD_OUT] or listed[1:][-1:])
        _write_list(folder, "val", sorted(held))
    if not train or held.intersection(known):
        train = "train"
        _write_list(folder, train, [key for key in known if key not in held])
    return train, val or "val", not val


def _write_list(folder: Path, name: str, keys: list[str]) -> None:
    write_atomic(str(folder / f"{name}.txt"), "".join(f"{key}\n" for key in keys).encode())


def _tags(root: Path) -> dict[str, tuple[str, ...]]:
    """Names by key, of the tags table in a dataset's folder; lines that name no picture are named by `validate`."""
    if not (root / TAGS).exists():
        return {}
    rows, _ = read_tags_table(root / TAGS).by_image(lambda name: voc.find_key(root, name))
    return {key: row.tags for key, row in rows.items()}


def _shown(root: Path, key: str, names: list[str]) -> list[str] | None:
    """Names in an image's mask; None without one; none for one that cannot be read, which `validate` names."""
    try:
        path = voc.find_mask(root, key)
        return path and [names[i - 1] for i in ids_in(read_mask(read_bytes(path), len(names)))]
    except ImageFault:
        return []
