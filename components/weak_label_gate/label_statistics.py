"""Statistics of a label set and the reasons to refuse it; no TFX and no Beam here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from trainer.config import Strict
from trainer.data.categories import BACKGROUND, VOID, Categories
from trainer.errors import few

_MILLION = 1_000_000  # shares have six digits: as whole numbers their sums are the same in any order
_NAMED = 12  # our choice: images that are named, of those something is wrong with


class LabelGateConfig(Strict):
    """Limits of the gate. Shares are 0..1; none of them is in the paper, all are our choice."""

    min_foreground_share: float = Field(0.01, ge=0, le=1, description="of all labelled pixels; below: all background")
    max_foreground_share: float = Field(0.95, ge=0, le=1, description="of all labelled pixels; above: all foreground")
    max_void_share: float = Field(0.6, ge=0, le=1, description="of all pixels")
    max_empty_share: float = Field(0.5, ge=0, le=1, description="of the labelled images that may be background only")
    min_tag_presence: float = Field(0.05, ge=0, le=1, description="of a tag's images that must show some of it")
    min_tag_images: int = Field(
        3, ge=1, description="tags of fewer images may be missed, unless a weak category has no pixel"
    )


@dataclass(frozen=True)
class LabelSums:
    """Sums over images: `counts`, of (tag, what) pairs too, and the first keys of stale labels and of empty boxes."""

    counts: Counter[Hashable] = field(default_factory=Counter)
    stale: tuple[str, ...] = ()
    empty_boxes: tuple[str, ...] = ()

    @classmethod
    def of_image(cls, key: str, record: Mapping[str, Any] | None, tags: Sequence[int] | None) -> LabelSums:
        """The sums of one image.

        Args:
          key: of the image.
          record: its label's, if it has one: a dict of key, tags (ids), confidence, shares (id as text -> share of the
            image's pixels) and, with boxes, boxes ([tag, share of the box that its label covers]).
          tags: ids of the weak example that was to be labelled; None if there is none.
        """
        counts: Counter[Hashable] = Counter()
        if tags is not None:
            counts.update(["images", *((tag, "images") for tag in tags)])
        if record is None:
            return cls(counts)
        shares = {int(name): round(_MILLION * share) for name, share in record["shares"].items()}
        foreground = {i: share for i, share in shares.items() if i not in (BACKGROUND, VOID)}
        boxes = [round(_MILLION * share) for _, share in record.get("boxes", ())]
        counts += Counter(
            labelled=1,
            void=shares.get(VOID, 0),
            background=shares.get(BACKGROUND, 0),
            confidence=round(_MILLION * record["confidence"]),
            empty=int(not any(foreground.values())),
            boxes=len(boxes),
            covered=sum(boxes),
            empty_boxes=boxes.count(0),
        )
        for tag in record["tags"]:
            area = foreground.get(tag, 0)
            counts += Counter({(tag, "labelled"): 1, (tag, "present"): int(area > 0), (tag, "area"): area})
        stale = int(tags is None or sorted(tags) != sorted(record["tags"]))
        counts["stale"] = stale
        return cls(counts, (key,) * stale, (key,) * (0 in boxes))

    @classmethod
    def merged(cls, sums: Iterable[LabelSums]) -> LabelSums:
        """One for all of their images."""
        counts: Counter[Hashable] = Counter()
        stale: list[str] = []
        empty_boxes: list[str] = []
        for one in sums:
            counts.update(one.counts)
            stale = sorted([*stale, *one.stale])[:_NAMED]
            empty_boxes = sorted([*empty_boxes, *one.empty_boxes])[:_NAMED]
        return cls(counts, tuple(stale), tuple(empty_boxes))


def label_statistics(sums: LabelSums, categories: Categories) -> dict[str, Any]:
    """What a label set looks like; JSON-ready. Shares are 0..1, means over images weigh every image alike.

    Returns:
      images, labelled, foreground_share (of the pixels that are not void), void_share, empty_share (images without any
      foreground), confidence (mean), stale (count, images: labels without an example, or with other tags; the first
      are named), and tags: name -> weak (bool), images (tagged), labelled (of these, with a label), present (of those,
      with pixels), presence (present / labelled), mean_area (where present). If there are boxes, also boxes: count,
      covered (mean share of a box), empty (boxes without a pixel of their tag), images (the first of those).
    """
    counts = sums.counts
    labelled, certain = counts["labelled"], _MILLION * counts["labelled"] - counts["void"]
    statistics = {
        "images": counts["images"],
        "labelled": labelled,
        "foreground_share": _ratio(certain - counts["background"], certain),
        "void_share": _ratio(counts["void"], _MILLION * labelled),
        "empty_share": _ratio(counts["empty"], labelled),
        "confidence": _ratio(counts["confidence"], _MILLION * labelled),
        "stale": {"count": counts["stale"], "images": list(sums.stale)},
        "tags": {
            name: {
                "weak": name in categories.weak,
                "images": counts[tag, "images"],
                "labelled": counts[tag, "labelled"],
                "present": counts[tag, "present"],
                "presence": _ratio(counts[tag, "present"], counts[tag, "labelled"]),
                "mean_area": _ratio(counts[tag, "area"], _MILLION * counts[tag, "present"]),
            }
            for tag, name in enumerate(categories.names)
            if counts[tag, "images"]
        },
    }
    if boxes := counts["boxes"]:
        statistics["boxes"] = {
            "count": boxes,
            "covered": _ratio(counts["covered"], _MILLION * boxes),
            "empty": counts["empty_boxes"],
            "images": list(sums.empty_boxes),
        }
    return statistics


def failures(statistics: Mapping[str, Any], settings: LabelGateConfig) -> list[str]:
    """Why the label set must not be trained on, one readable line each; empty if it may."""
    s = statistics
    if not s["images"]:
        return []
    if not s["labelled"]:
        return [f"none of the {s['images']} weak images has a label; see dead_letters.jsonl of the label step"]
    lines = []
    if count := s["stale"]["count"]:
        lines.append(
            f"stale: {count} labels do not belong to the present examples or their tags "
            f"({few(s['stale']['images'], 3)}); label again"
        )
    if s["void_share"] > settings.max_void_share:
        lines.append(
            f"{s['void_share']:.1%} of the pixels are void (limit {settings.max_void_share:.0%}); "
            "lower labels.ignore_band"
        )
    if s["foreground_share"] < settings.min_foreground_share:
        lines.append(
            f"all background: {s['foreground_share']:.2%} of the pixels are foreground (limit "
            f"{settings.min_foreground_share:.0%}); is the L-Net or the CAM trained? else lower labels.background_cut"
        )
    if s["foreground_share"] > settings.max_foreground_share:
        lines.append(
            f"all foreground: {s['foreground_share']:.1%} of the pixels are foreground (limit "
            f"{settings.max_foreground_share:.0%}); is the L-Net trained? else raise labels.background_cut"
        )
    if s["empty_share"] > settings.max_empty_share:
        lines.append(
            f"{s['empty_share']:.0%} of the labels are background only although their images have tags (limit "
            f"{settings.max_empty_share:.0%}); lower labels.background_cut"
        )
    for name, tag in s["tags"].items():
        judged = tag["labelled"] >= settings.min_tag_images
        if tag["labelled"] and not tag["present"] and (judged or tag["weak"]):
            lines.append(
                f"'{name}' is tagged in {tag['labelled']} labelled images and has not one pixel; train the CAM longer"
            )
        elif judged and tag["presence"] < settings.min_tag_presence:
            lines.append(
                f"'{name}' has pixels in only {tag['present']} of its {tag['labelled']} labelled images "
                f"({tag['presence']:.0%}, limit {settings.min_tag_presence:.0%}); train the CAM longer"
            )
    return lines


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
