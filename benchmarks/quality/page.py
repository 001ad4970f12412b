"""The two tables as Markdown."""

from __future__ import annotations

_HEAD = """# How good the parts are on real images

Written by `python -m benchmarks.quality {config}` on PASCAL VOC 2012 images.
{setting}. IoU in percent. The held-back masks of weak images only score.

## L-Net on categories it has never seen

IoU of the foreground of the weak categories on eval images that show one; pixels of strong categories do not count.
"Box" is the best of three centred boxes, "all categories" an L-Net trained with the masks of all twenty.

| split | images | box | L-Net | all categories | L-Net / all |
|---|---|---|---|---|---|
"""

_LABELS = """
## Weak labels

mIoU over background and the weak categories on the weak training images. Every variant has its own values, calibrated
on strong images whose categories the L-Net used there has not seen. M alone cannot tell tags apart: of several the
first gets everything; "one tag" leaves such images out. Void pixels of truth and label do not count, so an ignore band
leaves hard pixels out.

| variant | {splits} |
|---|{rules}|
"""


def page(config: str, setting: str, foreground: dict[str, dict], labels: list[dict]) -> str:
    """Markdown of foreground.json and weak_labels.json."""
    text = _HEAD.format(config=config, setting=setting)
    for split, row in foreground.items():
        figures = (row["centre_box"], row["l_net"], row["all_categories"], row["l_net_over_all_categories"])
        text += f"| {split} | {row['images']} | {' | '.join(_percent(value) for value in figures)} |\n"
    splits = list(dict.fromkeys(row["split"] for row in labels))
    heads = " | ".join(f"{split} | one tag" for split in splits)
    text += _LABELS.format(splits=heads, rules="|".join(["---"] * 2 * len(splits)))
    for variant in dict.fromkeys(row["variant"] for row in labels):
        rows = {row["split"]: row for row in labels if row["variant"] == variant}
        names = ("miou_weak_and_background", "miou_single_tag")
        text += f"| {variant} | {' | '.join(_percent(rows[split][name]) for split in splits for name in names)} |\n"
    text += "\nFound by calibration:\n\n"
    for row in labels:
        if "curves" in row:
            found = ", ".join(f"{name} {value:.3g}" for name, value in row["settings"].items())
            text += f"- {row['split']} ({row['calibrated_on']} images): {found}\n"
    return text


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
