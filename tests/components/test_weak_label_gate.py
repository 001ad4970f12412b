"""The gate lets a sound label set pass and refuses every kind of collapse with its reason."""

import random

import pytest

from components.weak_label_gate.label_statistics import LabelGateConfig, LabelSums, failures, label_statistics
from trainer.data.categories import Categories

CATEGORIES = Categories(("ant", "bee", "cow"), ("ant",))


def record(key, tags, shares, confidence=0.5):
    shares = {"0": 0.0, "255": 0.0, **{str(i): share for i, share in shares.items()}}
    return {"key": key, "tags": list(tags), "confidence": confidence, "seed_share": {}, "shares": shares}


def sound_set():
    """20 images: bees everywhere, cows in every fourth."""
    records = []
    for i in range(20):
        shares = {2: 0.2, 255: 0.1} | ({3: 0.1} if i % 4 == 0 else {})
        records.append(record(f"i{i:02d}", sorted(set(shares) - {255}), shares | {0: 1 - sum(shares.values())}, i / 20))
    return records


def sums_of(records, inputs=None):
    labels = {r["key"]: r for r in records}
    inputs = {key: r["tags"] for key, r in labels.items()} if inputs is None else inputs
    return [LabelSums.of_image(key, labels.get(key), inputs.get(key)) for key in sorted({*labels, *inputs})]


def judge(records, inputs=None, **settings):
    statistics = label_statistics(LabelSums.merged(sums_of(records, inputs)), CATEGORIES)
    return failures(statistics, LabelGateConfig(**settings))


def test_a_sound_set_passes_and_is_counted():
    records = sound_set()
    statistics = label_statistics(LabelSums.merged(sums_of(records)), CATEGORIES)
    assert judge(records) == []
    assert (statistics["images"], statistics["labelled"]) == (20, 20)
    assert statistics["void_share"] == pytest.approx(0.1)
    assert statistics["foreground_share"] == pytest.approx((20 * 0.2 + 5 * 0.1) / (20 * 0.9))
    assert statistics["empty_share"] == 0
    assert statistics["confidence"] == pytest.approx(9.5 / 20)
    cow = statistics["tags"]["cow"]
    assert (cow["images"], cow["present"], cow["presence"]) == (5, 5, 1)
    assert cow["mean_area"] == pytest.approx(0.1)
    assert "ant" not in statistics["tags"]


def test_sums_are_the_same_in_any_order_and_grouping():
    records = sound_set()
    records[3]["tags"], records[4]["boxes"] = [1, 2], [[2, 0.0], [2, 0.123457]]
    inputs = {r["key"]: [2, 3] for r in records[1:]}
    whole = LabelSums.merged(sums_of(records, inputs))
    assert whole.stale and whole.empty_boxes == ("i04",)
    for seed in range(5):
        parts = sums_of(records, inputs)
        random.Random(seed).shuffle(parts)
        cut = 3 * seed
        assert LabelSums.merged([LabelSums.merged(parts[:cut]), *parts[cut:]]) == whole


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ({0: 1.0}, "all background"),
        ({2: 1.0}, "all foreground"),
        ({2: 0.1, 0: 0.1, 255: 0.8}, "80.0% of the pixels are void"),
    ],
)
def test_collapsed_sets_are_refused(shares, reason):
    lines = judge([record(f"i{i}", [2], shares) for i in range(10)])
    assert any(line.startswith(reason) for line in lines), lines


def test_a_tag_without_a_pixel_is_refused():
    records = [record(f"i{i}", [2, 3], {0: 0.7, 2: 0.3}) for i in range(2)] + sound_set()
    for r in records:
        r["shares"].pop("3", None)
    (line,) = judge(records)
    assert line.startswith("'cow' is tagged in 7 labelled images and has not one pixel")


def test_a_rare_strong_tag_may_be_missed():
    records = sound_set()
    records[0]["tags"] = [1, *records[0]["tags"]]
    assert judge(records) == []
    (line,) = judge(records, min_tag_images=1)
    assert line.startswith("'ant' is tagged in 1 labelled images")


def test_a_tag_that_hardly_shows_is_refused():
    records = [record(f"i{i}", [2, 3], {0: 0.7, 2: 0.3}) for i in range(30)]
    records.append(record("one", [2, 3], {0: 0.7, 2: 0.2, 3: 0.1}))
    (line,) = judge(records)
    assert line.startswith("'cow' has pixels in only 1 of its 31 labelled images (3%, limit 5%)")
    assert judge(records, min_tag_presence=0.01) == []


def test_mostly_empty_labels_are_refused():
    records = [record(f"i{i}", [2], {0: 1.0} if i % 3 else {0: 0.5, 2: 0.5}) for i in range(12)]
    (line,) = judge(records)
    assert line.startswith("67% of the labels are background only")


def test_missing_labels_are_refused():
    (line,) = judge([], {r["key"]: r["tags"] for r in sound_set()})
    assert line.startswith("none of the 20 weak images has a label")


def test_a_stale_set_is_refused():
    records = sound_set()
    inputs = {r["key"]: r["tags"] for r in records}
    inputs["i03"] = [1]
    del inputs["i05"]
    lines = judge(records, inputs)
    assert lines[0].startswith("stale: 2 labels do not belong to the present examples or their tags (i03, i05)")


def test_no_weak_images_is_the_data_gates_business():
    assert judge([]) == []
    assert label_statistics(LabelSums(), CATEGORIES)["void_share"] == 0
