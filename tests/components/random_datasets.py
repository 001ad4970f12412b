"""Random small datasets with damage in them, and what must come of each picture: drawn with Pillow and numpy alone.

People draw on upright pictures; so do `Thing`s here. `random_formats` writes them in the formats that are imported.
"""

import io
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageDraw

VOID = 255
NAMES = ("cat", "dog", "Hund groß", "猫", "x-1", "a b")
_STEMS = (
    "a",
    "sub/a",
    "sub_a",
    "b c",
    "x.y",
    "Käse",
    "Ka\u0308se",
    "图",
    "d/e/f.g",
    "100%",
    "it's",
    "a,b",
    'q"t',
    "-n",
)
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
_STORED = {  # orientation -> what turns upright pixels into stored ones
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
FORMS = ("polygon", "runs", "box", "tag")  # how a thing is drawn, where a format knows the form
THING_DAMAGES = ("two points", "nan", "far", "label", "runs", "turned", "orphan")
PICTURE_DAMAGES = ("gone", "broken", "empty", "bare", "mask size", "mask broken", "mask id")


@dataclass(frozen=True)
class Thing:
    """A rectangle or a triangle; `corners`: (x, y) on the upright picture."""

    category: int
    corners: tuple[tuple[int, int], ...]
    form: str = "polygon"
    damage: str | None = None

    @property
    def box(self):
        (x0, y0), (x1, y1) = np.min(self.corners, 0).tolist(), np.max(self.corners, 0).tolist()
        return x0, y0, x1, y1

    @property
    def area(self):
        x, y = np.array(self.corners, float).T
        return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


@dataclass(frozen=True)
class Picture:
    """`size`: (width, height) upright; `seed`: of its pixels, and of choices that a format leaves."""

    name: str
    format: str
    orientation: int
    size: tuple[int, int]
    seed: int
    things: tuple[Thing, ...]
    damage: str | None = None

    @property
    def stem(self):
        return self.name.rpartition(".")[0]

    @property
    def turns_sides(self):
        """Whether stored and upright pictures can be told apart by their sizes."""
        return self.orientation >= 5 and self.size[0] != self.size[1]

    def encoded(self):
        pixels = np.random.default_rng([self.seed, *self.size]).integers(0, 256, (*self.size[::-1], 3), np.uint8)
        return encode(Image.fromarray(pixels), self.format, self.orientation)

    def on_disk(self):
        """The bytes of its file; None where it has none."""
        data = self.encoded()
        return {"gone": None, "broken": data[:20], "empty": b""}.get(self.damage, data)

    def stored(self, mask):
        return turned(mask, self.orientation)

    def as_kept(self, mask):
        """An upright mask on the pixels that the import keeps: JPEGs stay turned, others become upright."""
        return self.stored(mask) if self.format == "JPEG" else mask

    def inside(self, thing):
        """bool [H, W] upright; of a triangle without the pixels that its edges touch, and those pixels."""
        x0, y0, x1, y1 = thing.box
        inside, edge = np.zeros((2, *self.size[::-1]), bool)
        if len(thing.corners) == 4:
            inside[y0:y1, x0:x1] = True
            return inside, edge
        canvas = Image.new("1", self.size)
        ImageDraw.Draw(canvas).polygon(thing.corners, 1, 0)
        outline = Image.new("1", self.size)
        for shift in ((0, 0), (-1, 0), (0, -1), (-1, -1)):
            moved = [(x + shift[0], y + shift[1]) for x, y in thing.corners]
            ImageDraw.Draw(outline).line([*moved, moved[0]], 1, 2)
        edge = np.array(outline)
        return np.array(canvas) & ~edge, edge


def encode(image, format_, orientation, silent=False):
    """An upright image -> the bytes of a file that stores it turned, and says so unless `silent`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored = image if orientation == 1 else image.transpose(_STORED[orientation])
    stored.save(buffer, format_, **({} if orientation == 1 or silent else {"exif": exif}), lossless=True, quality=95)
    return buffer.getvalue()


def turned(pixels, orientation):
    """Upright pixels -> stored ones."""
    return pixels if orientation == 1 else np.array(Image.fromarray(pixels).transpose(_STORED[orientation]))


def turned_point(x, y, orientation, size):
    """A point of the upright picture -> on the stored one."""
    width, height = size
    return {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, width - x),
        7: (height - y, width - x),
        8: (height - y, x),
    }[orientation]


@dataclass
class Outcome:
    """What must come of a picture: masks upright; None: it has tags alone.

    `mask` is right where not `unsure`; void may replace background where `may`, and must where `must`.
    """

    dead: bool
    tags: set
    dropped: int = 0
    mask: np.ndarray | None = None
    may: np.ndarray | None = None
    must: np.ndarray | None = None
    unsure: np.ndarray | None = None

    def fits(self, kept, picture, ids):
        """Whether a kept mask is right; `ids`: id there of each category."""
        mask, may, must, unsure = (picture.as_kept(array) for array in (self.mask, self.may, self.must, self.unsure))
        if kept.shape != mask.shape:
            return False
        expected = np.array([0, *ids, *[VOID] * (255 - len(ids))])[mask]
        right = (kept == expected) | ((kept == VOID) & may)
        right &= ~must | (expected != 0) | (kept == VOID)
        return bool((right | unsure).all())


def outcome(picture, names, kind):
    """What must come of a picture that a `random_formats.Kind` has written, with damage that it can express."""
    tags = {names[thing.category] for thing in picture.things}
    if picture.damage in PICTURE_DAMAGES:
        return Outcome(True, set())
    if kind.tags_only:
        return Outcome(False, tags)
    mask = np.zeros(picture.size[::-1], np.uint8)
    may, must, unsure = np.zeros((3, *mask.shape), bool)
    tags, dropped = set(), 0
    owned = [thing for thing in picture.things if thing.damage != "orphan"]
    for thing in sorted(owned, key=lambda thing: -thing.area) if kind.by_area else owned:
        inside, edge = picture.inside(thing)
        x0, y0, x1, y1 = thing.box
        extent = kind.damages[thing.damage] if thing.damage else kind.forms[thing.form]
        dropped += thing.damage is not None
        if thing.damage is None:
            tags.add(names[thing.category])
        if extent == "drawn":
            mask[inside] = thing.category + 1
            unsure |= edge
            for other in owned if kind.by_area else ():  # of about its size: which lies on top is not told
                if other != thing and abs(other.area - thing.area) < 0.2 * thing.area + 9:
                    unsure |= np.logical_or(*picture.inside(other)) & (inside | edge)
        elif extent == "all":
            may[:] = True
            must |= inside
        elif extent != "nothing":
            may[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True  # fractions are not exact
            may |= edge
            must |= inside
    if kind.is_mask:
        mask[unsure] = VOID  # a file may hold void
        unsure[:] = False
        tags = {names[i - 1] for i in np.unique(mask) if i not in (0, VOID)}
    if kind.forms.get("tag") == "nothing" and all(thing.form == "tag" and not thing.damage for thing in owned):
        return Outcome(False, tags)
    return Outcome(dropped > 0 and not tags, tags, dropped, mask, may, must, unsure)


@st.composite
def pictures(draw, seed):
    width, height = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    format_ = draw(st.sampled_from(list(_SUFFIXES)))
    native = _SUFFIXES[format_]
    suffix = draw(st.sampled_from([native, native, native.upper(), ".jpg"]))
    categories = draw(st.lists(st.integers(0, len(NAMES) - 1), min_size=1, max_size=3, unique=True))
    things = []
    for category in categories:
        x0, y0 = draw(st.integers(0, width - 4)), draw(st.integers(0, height - 4))
        x1, y1 = draw(st.integers(x0 + 3, width)), draw(st.integers(y0 + 3, height))
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))[: draw(st.sampled_from([4, 4, 3]))]
        damage = draw(st.one_of(st.none(), st.none(), st.none(), st.sampled_from(THING_DAMAGES)))
        things.append(Thing(category, corners, draw(st.sampled_from(FORMS)), damage))
    return Picture(
        draw(st.sampled_from(_STEMS)) + suffix,
        format_,
        draw(st.integers(1, 8)) if format_ != "BMP" else 1,
        (width, height),
        seed,
        tuple(things),
        draw(st.one_of(st.none(), st.none(), st.none(), st.none(), st.sampled_from(PICTURE_DAMAGES))),
    )
