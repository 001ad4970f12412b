"""Every tf.Example key, in one place.

One example is one image, with encoded bytes only (images and masks never as float lists):

| key              | type  | content                                                                      |
|------------------|-------|------------------------------------------------------------------------------|
| image/key        | bytes | unique name, the file's stem                                                 |
| image/encoded    | bytes | JPEG or PNG file bytes                                                       |
| image/height     | int64 | pixels                                                                       |
| image/width      | int64 | pixels                                                                       |
| image/size       | bytes | "small", "medium" or "large", see `size_class`                               |
| image/tags       | int64 | category ids (1..C-1) present in the image, ascending, 0 or more             |
| mask/encoded     | bytes | PNG, uint8 [height, width] of category ids and 255; absent from weak images  |
| mask/source      | bytes | "human", "generated" (weak label) or "none"                                  |
| box/tag          | int64 | a tag for each box of a weak image; absent without boxes                     |
| box/corners      | float | x1, y1, x2, y2 of each, in pixels of the stored image, see trainer.data.boxes |
| supervision      | bytes | "weak" if a weak category is tagged, else "strong"; "" where nobody asks     |
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import tensorflow as tf

from trainer.data.boxes import TagBox
from trainer.data.categories import VOID
from trainer.data.pictures import holds_more
from trainer.data.preprocessing import decode_mask

KEY = "image/key"
IMAGE = "image/encoded"
HEIGHT = "image/height"
WIDTH = "image/width"
SIZE = "image/size"
TAGS = "image/tags"
MASK = "mask/encoded"
SOURCE = "mask/source"
BOX_TAGS = "box/tag"
BOX_CORNERS = "box/corners"
SUPERVISION = "supervision"

HUMAN, GENERATED, NONE = b"human", b"generated", b"none"

SHARD_SIZE = 64  # our choice: examples a file, about 6 MB of VOC; a worker labels a file at a time
GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)  # of record files; JPEGs do not shrink more

PARSE_SPEC = {
    KEY: tf.io.FixedLenFeature([], tf.string),
    IMAGE: tf.io.FixedLenFeature([], tf.string),
    HEIGHT: tf.io.FixedLenFeature([], tf.int64),
    WIDTH: tf.io.FixedLenFeature([], tf.int64),
    TAGS: tf.io.VarLenFeature(tf.int64),
    MASK: tf.io.FixedLenFeature([], tf.string, default_value=""),
    SOURCE: tf.io.FixedLenFeature([], tf.string),
}


def make_example(
    key: str,
    image: bytes,
    height: int,
    width: int,
    tags: list[int],
    mask: bytes | None = None,
    source: bytes = NONE,
    supervision: bytes = b"",
    boxes: Sequence[TagBox] = (),
) -> tf.train.Example:
    """Builds one example. `mask` None leaves the mask out altogether, and so do no boxes the boxes."""

    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def of_ints(values: list[int]) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    feature = {
        KEY: of_bytes(key.encode()),
        IMAGE: of_bytes(image),
        HEIGHT: of_ints([height]),
        WIDTH: of_ints([width]),
        SIZE: of_bytes(size_class(height, width)),
        TAGS: of_ints(sorted(set(tags))),
        SOURCE: of_bytes(source),
        SUPERVISION: of_bytes(supervision),
    }
    if mask is not None:
        feature[MASK] = of_bytes(mask)
    if boxes:
        corners = [value for box in boxes for value in box.corners]
        feature[BOX_TAGS] = of_ints([box.tag for box in boxes])
        feature[BOX_CORNERS] = tf.train.Feature(float_list=tf.train.FloatList(value=corners))
    return tf.train.Example(features=tf.train.Features(feature=feature))


def read_examples(files: str | Sequence[str]) -> Iterator[tf.train.Example]:
    """The examples of record files, in the files' order."""
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def key_of(example: tf.train.Example) -> str:
    return example.features.feature[KEY].bytes_list.value[0].decode()


def image_of(example: tf.train.Example) -> bytes:
    """Encoded."""
    return example.features.feature[IMAGE].bytes_list.value[0]


def mask_of(example: tf.train.Example) -> bytes:
    """Encoded; empty without one."""
    return b"".join(example.features.feature[MASK].bytes_list.value)


def tags_of(example: tf.train.Example) -> tuple[int, ...]:
    return tuple(example.features.feature[TAGS].int64_list.value)


def boxes_of(example: tf.train.Example) -> tuple[TagBox, ...]:
    """The boxes of an example, in the order they were given."""
    feature = example.features.feature
    if BOX_TAGS not in feature:  # asking for it would add it
        return ()
    corners = iter(feature[BOX_CORNERS].float_list.value)
    return tuple(TagBox(tag, *(next(corners) for _ in range(4))) for tag in feature[BOX_TAGS].int64_list.value)


def size_class(height: int, width: int) -> bytes:
    """By the longer side: up to 320 pixels small, up to 640 (all of VOC and COCO) medium, else large. Open."""
    side = max(height, width)
    return b"small" if side <= 320 else b"medium" if side <= 640 else b"large"


def first_images(files: Sequence[str], number: int, max_pixels: int) -> list[bytes]:
    """At most so many encoded images of record files, in their order, those with more pixels passed over."""
    images = (image_of(example) for example in read_examples(files))
    return list(islice((image for image in images if not holds_more(image, max_pixels)), number))


def with_human_mask(label: np.ndarray, example: tf.train.Example) -> np.ndarray:
    """A generated label, uint8 [H, W], in the void pixels of the example's own mask, if it has one."""
    if not (encoded := mask_of(example)):
        return label
    human = decode_mask(tf.constant(encoded)).numpy()
    return np.where(human == VOID, label, human)
