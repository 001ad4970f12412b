"""How the demo's pictures are drawn: eight categories in four look-alike pairs on cluttered ground.

A pair shares its kind of outline and of pattern and differs in detail and colour, as a bicycle and a motorbike do, so
that what is learned about one can carry over. Backgrounds are cluttered with lines, small flat shapes and stripes in
any colour, so neither colour nor texture alone gives an object away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from trainer.data.categories import VOID

DEMO_STRONG = ("ring", "star", "leaf", "crate")
DEMO_WEAK = ("gear", "flower", "fish", "house")  # each looks like the strong category at the same place

_VISIBLE = 0.6  # share of an object that must stay uncovered


def _circle(radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def _polar(radius: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return radius(angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _lens(length: float = 1.0, width: float = 0.5) -> np.ndarray:
    x = np.linspace(-length, length, 30)
    y = width * (1 - (x / length) ** 2)
    return np.concatenate([np.stack([x, y], 1), np.stack([x, -y], 1)[::-1]])


# Outlines: polygons in -1..1, filled by the even-odd rule (a polygon inside another is a hole).
_OUTLINES: dict[str, list[np.ndarray]] = {
    "ring": [_circle(0.95), _circle(0.45)],
    "gear": [_polar(lambda a: 0.86 + 0.14 * np.tanh(6 * np.sin(8 * a))), _circle(0.28)],
    "star": [_polar(lambda a: 0.45 + 0.55 * np.abs(((a * 5 / (2 * np.pi)) % 1) * 2 - 1) ** 1.3)],
    "flower": [_polar(lambda a: 0.72 + 0.28 * np.cos(6 * a))],
    "leaf": [_lens(1.0, 0.52)],
    "fish": [_lens(0.8, 0.48) - [0.2, 0], np.array([[0.45, 0.0], [1.0, 0.48], [0.85, 0.0], [1.0, -0.48]])],
    "crate": [np.array([[-0.8, -0.72], [0.8, -0.72], [0.8, 0.72], [-0.8, 0.72]])],
    "house": [np.array([[-0.75, -0.15], [0.0, -0.95], [0.75, -0.15], [0.75, 0.85], [-0.75, 0.85]])],
}

# Patterns: (x, y) in -1..1 -> -1..1, mixing an object's two colours.
_PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ring": lambda x, y: np.sin(6 * np.arctan2(y, x)),
    "gear": lambda x, y: np.sin(12 * np.arctan2(y, x)),
    "star": lambda x, y: np.sin(14 * np.hypot(x, y)),
    "flower": lambda x, y: np.sin(20 * np.hypot(x, y)),
    "leaf": lambda x, y: np.sin(14 * x + 10 * np.abs(y)),
    "fish": lambda x, y: np.sin(16 * x - 8 * np.abs(y)),
    "crate": lambda x, y: np.sin(11 * x) * np.sin(11 * y),
    "house": lambda x, y: np.sin(16 * y) * np.sign(np.sin(8 * x)),
}

# Centre of the hue, degrees; pairs are neighbours on the wheel.
_HUES = {"ring": 20, "gear": 60, "star": 285, "flower": 335, "leaf": 100, "fish": 155, "crate": 200, "house": 245}
_HUE_SPREAD = 14.0


@dataclass
class _Canvas:
    """A picture being drawn."""

    image: np.ndarray  # float32 [H, W, 3] RGB 0..255
    mask: np.ndarray  # uint8 [H, W] category ids
    objects: np.ndarray  # int16 [H, W] index of the object, -1 where there is none


def draw_image(rng: np.random.Generator, sides: tuple[int, int], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws one picture.

    Args:
      rng: source of all randomness.
      sides: shortest and longest side in pixels.
      kind: "strong", "weak" or "mixed" (at least one of each).

    Returns:
      (uint8 [H, W, 3] RGB, uint8 [H, W] of ids and 255).
    """
    height, width = (int(side) for side in rng.integers(sides[0], sides[1] + 1, 2))
    canvas = _Canvas(
        image=_background(rng, height, width),
        mask=np.zeros((height, width), np.uint8),
        objects=np.full((height, width), -1, np.int16),
    )
    areas: list[int] = []
    for category in _choose(rng, kind):
        for _ in range(20):
            if _place(rng, canvas, category, areas):
                break
    image = canvas.image * _illumination(rng, height, width)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    image = image + rng.normal(0, rng.uniform(3, 12), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), _with_void(canvas)


def _choose(rng: np.random.Generator, kind: str) -> list[str]:
    """Category names of the 1 to 4 objects of an image; repeats happen, as people and cars do."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.25, 0.15]))
    if kind == "mixed":
        first = [str(rng.choice(DEMO_STRONG)), str(rng.choice(DEMO_WEAK))]
        pool = first
    else:
        names = DEMO_STRONG if kind == "strong" else DEMO_WEAK
        pool = list(rng.choice(names, 2, replace=False))
        first = []
    chosen = first + [str(rng.choice(pool)) for _ in range(count - len(first))]
    rng.shuffle(chosen)
    return chosen


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """float32 [3] RGB 0..255 of a hue in degrees, saturation and value in 0..1."""
    pixel = np.array([[[hue % 360, np.clip(saturation, 0, 1), np.clip(value, 0, 1)]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """float32 [H, W, 1] of 0..1, about `cells` bumps along a side."""
    coarse = rng.random((cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A textured ground with clutter: float32 [H, W, 3]."""
    first, second = (_colour(rng.uniform(0, 360), rng.uniform(0.05, 0.6), rng.uniform(0.25, 0.9)) for _ in range(2))
    share = np.clip(_smooth_noise(rng, height, width, int(rng.integers(2, 6))), 0, 1)
    image = first * share + second * (1 - share)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    texture = rng.integers(0, 4)
    if texture == 0:  # stripes
        angle = rng.uniform(0, np.pi)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.2, 0.9))
    elif texture == 1:  # weave
        pace = rng.uniform(0.2, 0.7)
        wave = np.sin(x * pace) * np.sin(y * pace)
    elif texture == 2:  # ripples
        wave = np.sin(np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height)) * rng.uniform(0.2, 0.7))
    else:  # grain
        wave = 2 * _smooth_noise(rng, height, width, 32)[..., 0] - 1
    image = (image + wave[..., None] * rng.uniform(6, 30)).astype(np.float32)
    for _ in range(rng.integers(4, 14)):
        _clutter(rng, image)
    return image


def _clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Adds one thing that is background: a line, a small flat shape or a large faint blob."""
    height, width = image.shape[:2]
    colour = _colour(rng.uniform(0, 360), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1.0)).tolist()
    centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
    what = rng.integers(0, 4)
    if what == 0:
        end = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.line(image, centre, end, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    elif what == 1:
        axes = tuple(int(axis) for axis in rng.integers(3, 9, 2))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    elif what == 2:
        corners = (rng.normal(0, 6, (int(rng.integers(3, 6)), 2)) + centre).astype(np.int32)
        cv2.fillPoly(image, [corners], colour, cv2.LINE_AA)
    else:
        blob = np.zeros((height, width), np.float32)
        cv2.ellipse(blob, centre, tuple(int(a) for a in rng.integers(10, 35, 2)), 0, 0, 360, 1.0, -1)
        blob = cv2.GaussianBlur(blob, (0, 0), 3)[..., None] * rng.uniform(0.3, 0.7)
        image += blob * (np.array(colour, np.float32) - image)


def _place(rng: np.random.Generator, canvas: _Canvas, category: str, areas: list[int]) -> bool:
    """Draws one object unless it would hide too much of another or lie mostly outside; says whether it did."""
    height, width = canvas.mask.shape
    radius = rng.uniform(17, 36)
    centre = rng.uniform([radius * 0.6] * 2, [width - radius * 0.6, height - radius * 0.6])
    angle = rng.uniform(0, 2 * np.pi) if category not in ("crate", "house") else rng.normal(0, 0.35)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2)]) * radius
    polygons = [np.round((outline * stretch) @ turn.T + centre).astype(np.int32) for outline in _OUTLINES[category]]
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, polygons, 1)
    area = int(inside.sum())
    hidden = np.bincount(canvas.objects[(inside > 0) & (canvas.objects >= 0)], minlength=len(areas))
    left = np.bincount(canvas.objects[canvas.objects >= 0], minlength=len(areas)) - hidden
    mostly_outside = area < 0.6 * stretch.prod()
    if mostly_outside or any(left < _VISIBLE * np.array(areas)):
        return False

    y, x = np.mgrid[:height, :width].astype(np.float32)
    local = (np.stack([x, y], -1) - centre) @ turn / stretch
    hue = _HUES[category] + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD)
    saturation, value = rng.uniform(0.4, 0.85), rng.uniform(0.5, 0.95)
    light = _colour(hue, saturation, value)
    dark = _colour(hue + rng.uniform(-15, 15), saturation + 0.1, value * rng.uniform(0.45, 0.7))
    share = 0.5 + 0.5 * np.clip(1.6 * _PATTERNS[category](local[..., 0], local[..., 1]), -1, 1)[..., None]
    shade = 1 - rng.uniform(0.1, 0.3) * (local @ np.array([0.4, 0.6]))[..., None]
    colour = (light * share + dark * (1 - share)) * shade
    rim = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))[..., None]
    colour = np.where(rim > 0, dark * 0.6, colour)
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.7)[..., None]
    canvas.image = (canvas.image * (1 - alpha) + colour * alpha).astype(np.float32)
    canvas.mask[inside > 0] = (DEMO_STRONG + DEMO_WEAK).index(category) + 1
    canvas.objects[inside > 0] = len(areas)
    areas.append(area)
    return True


def _illumination(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Gain per pixel and channel: a smooth light across the image and a slight colour cast, float [H, W, 3]."""
    light = 0.65 + 0.6 * _smooth_noise(rng, height, width, 3)
    return light * rng.uniform(0.88, 1.12, 3)


def _with_void(canvas: _Canvas) -> np.ndarray:
    """The mask with outlines of objects, two pixels wide, set to void."""
    index = (canvas.objects + 1).astype(np.uint8)
    edge = cv2.morphologyEx(index, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    return np.where(edge, np.uint8(VOID), canvas.mask)
