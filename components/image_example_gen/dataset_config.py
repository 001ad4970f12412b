"""Which dataset to read and how; checked before any work."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Literal

from etils import epath
from pydantic import Field, model_validator

from components.image_example_gen import voc
from components.image_example_gen.tables import read_boxes, read_tags
from trainer.config import Strict, refuse_unread
from trainer.data.boxes import BOXES
from trainer.data.categories import Categories
from trainer.data.category_names import order_fault, read_names
from trainer.errors import ImageFault, UserError, some


class DatasetConfig(Strict):
    """A dataset on disk. Defaults are VOC's own names."""

    root: str = Field(description="folder with JPEGImages, SegmentationClass and ImageSets; also gs:// or s3://")
    train: str = Field(
        "train", description="ImageSets/Segmentation/<train>.txt; train-{SPAN} means train-1.txt, train-2.txt, ..."
    )
    newest_spans: int | None = Field(None, ge=1, description="of a list in spans, only so many last ones; null: all")
    eval: str = Field("val", description="as train; its masks are for scores alone")
    tags: str | None = Field(
        None, description="CSV `image,tags` in root; null: tags are taken from the masks, which are then dropped"
    )
    mixed_images: Literal["ignore_strong_masks", "use_strong_masks"] = Field(
        "ignore_strong_masks", description="what masks of strong objects in weak images are worth"
    )
    corrected: str | None = Field(
        None, description="list of images whose masks people have corrected: they count as strong"
    )
    max_bad_share: float = Field(
        0.05, ge=0, le=1, description="share of unusable images above which the run stops; our choice"
    )
    train_limit: int | None = Field(None, ge=1, description="the first N listed images")
    eval_limit: int | None = Field(None, ge=1, description="as train_limit")

    @model_validator(mode="after")
    def _read(self) -> DatasetConfig:
        if voc.SPAN not in self.train:
            refuse_unread(self, ["newest_spans"], f"train: {self.train} has no {voc.SPAN} in it")
        return self

    @property
    def tags_path(self) -> epath.Path | None:
        return epath.Path(self.root) / self.tags if self.tags else None

    @property
    def boxes_path(self) -> epath.Path | None:
        """The table of boxes, if the dataset has one."""
        path = epath.Path(self.root) / BOXES
        return path if path.exists() else None

    @property
    def lists(self) -> dict[str, Callable[[], list[str]]]:
        """Name of a list -> its keys."""
        found = {self.train: self.train_keys, self.eval: self.eval_keys}
        return found | ({self.corrected: self.corrected_keys} if self.corrected else {})

    def listed(self) -> set[str]:
        """The keys in all lists that can be read."""
        found: set[str] = set()
        for keys in self.lists.values():
            with contextlib.suppress(UserError):
                found.update(keys())
        return found

    def train_keys(self) -> list[str]:
        """Names of the training images, in order; UserError if a list cannot be read."""
        return voc.list_keys(self.root, self.train, self.train_limit, self.newest_spans)

    def eval_keys(self) -> list[str]:
        """As train_keys, of the evaluation images."""
        return voc.list_keys(self.root, self.eval, self.eval_limit)

    def corrected_keys(self) -> list[str]:
        """As train_keys, of the images whose masks people have corrected."""
        return voc.list_keys(self.root, self.corrected) if self.corrected else []


def check_dataset(settings: DatasetConfig, categories: Categories) -> None:
    """Refuses a dataset that cannot be read at all; bad single images are found later, record by record.

    Raises:
      UserError: root, a folder or a list is missing or empty, categories.txt has another order, or lines of the tags
        file or of boxes.csv are wrong (all of them).
    """
    for where, fault in layout_faults(settings):
        raise UserError(fault if where in settings.lists else f"dataset.root: {fault}")
    faults = list(order_faults(settings, categories))
    if faults:
        raise UserError(some(faults))
    if settings.tags_path:
        read_tags(settings.tags_path, categories, settings.root, settings.listed())
    if settings.boxes_path:
        read_boxes(settings.boxes_path, categories, settings.root, settings.listed())


def order_faults(settings: DatasetConfig, categories: Categories) -> Iterator[str]:
    """Where the config's ids are not those of categories.txt, if the dataset has one: masks would change meaning."""
    path = epath.Path(settings.root) / voc.CATEGORIES
    if not path.exists():
        return
    try:
        names = read_names(path)
    except UserError as error:
        yield str(error)
        return
    if fault := order_fault(categories.foreground, names, path):
        yield f"categories: {fault}; give all names of the file in its order (categories.order)"


def layout_faults(settings: DatasetConfig) -> Iterator[tuple[str, str]]:
    """(where, what) of each folder or list that is missing or empty; `where`: "dataset.root", a folder or a split."""
    root = epath.Path(settings.root)
    if not root.is_dir():
        yield "dataset.root", f"no folder {root}; give the folder that holds JPEGImages and ImageSets"
        return
    for folder in (voc.IMAGES, voc.MASKS):
        if not (root / folder).is_dir():
            yield folder, f"{root} has no folder {folder}; the format is PASCAL VOC's"
    for split, keys in settings.lists.items():
        try:
            if not keys() and split != settings.corrected:
                yield split, f"{voc.list_path(root, split)}: lists no image; write one image name a line"
        except UserError as error:
            yield split, str(error)


def fingerprint(settings: DatasetConfig) -> str:
    """Hex digest that changes when a file the settings use changes: over names, sizes and times, not contents."""
    import tensorflow as tf  # here, because configs are checked before anybody waits for it

    root = settings.root
    digest = hashlib.sha256()

    def add(path: epath.Path) -> None:
        try:
            state = tf.io.gfile.stat(str(path))
            digest.update(f"{path}:{state.length}:{state.mtime_nsec}\n".encode())
        except tf.errors.NotFoundError:
            digest.update(f"{path}:-\n".encode())

    for split, keys in ((settings.train, settings.train_keys()), (settings.eval, settings.eval_keys())):
        for path in voc.spans(root, split).values():
            add(path)
        for key in keys:
            for find in (voc.image_path, voc.find_mask):
                try:
                    add(find(root, key) or voc.mask_path(root, key))
                except ImageFault:
                    digest.update(f"{key}:{find.__name__}\n".encode())
    if settings.tags_path:
        add(settings.tags_path)
    if settings.boxes_path:
        add(settings.boxes_path)
    if settings.corrected:
        for path in voc.spans(root, settings.corrected).values():
            add(path)
    return digest.hexdigest()
