"""`init --force` on a folder that has changed since."""

import numpy as np
from PIL import Image
from test_init import _no_probe, init, originals, photos  # noqa: F401

from pipeline.config.run_config import load_config
from pipeline.validate import find_problems

# ruff: noqa: F811  the fixture `photos`


def test_a_folder_that_changes_is_followed(photos, tmp_path):
    """Pictures saved anew, one with another mask, one in another format; and two that were taken away."""
    names = ("--categories", "even,odd,kite")
    init(tmp_path, photos, *names)
    lists = tmp_path / "data/ImageSets/Segmentation"
    trained, held = ((lists / f"{name}.txt").read_text().split() for name in ("train", "val"))
    files = {path.stem: path for path in photos.glob("*.jpg")}
    for key in (held[0], trained[0]):
        pixels = np.asarray(Image.open(files[key]))
        Image.fromarray(255 - pixels).save(files[key], quality=95)
    mask = np.asarray(Image.open(photos / f"masks/{trained[0]}.png"))
    Image.fromarray((mask > 0).astype(np.uint8)).save(photos / f"masks/{trained[0]}.png")
    Image.open(files[trained[1]]).convert("RGB").save(photos / f"{trained[1]}.png")
    files[trained[1]].unlink()
    for key in (held[1], trained[2]):
        files[key].unlink()
        (photos / f"masks/{key}.png").unlink()
    lines = (photos / "list.csv").read_text().replace(f"{trained[1]}.jpg", f"{trained[1]}.png").split("\n")
    gone = (f"{held[1]}.", f"{trained[2]}.")
    (photos / "list.csv").write_text("\n".join(line for line in lines if not line.startswith(gone)))

    done = init(tmp_path, photos, *names, "--force")
    assert "3 images replaced by new versions of theirs" in done.output
    assert f"1 images of before come from {photos} no more and are not trained on: {trained[2]}" in done.output
    now, judged = ((lists / f"{name}.txt").read_text().split() for name in ("train", "val"))
    assert judged == held and set(now) == {*trained} - {trained[2]}
    files[trained[1]] = photos / f"{trained[1]}.png"
    for key in (held[0], *trained[:2]):
        [stored] = (tmp_path / "data/JPEGImages").glob(f"{key}.*")
        assert stored.read_bytes() == files[key].read_bytes()
    found = np.asarray(Image.open(tmp_path / f"data/SegmentationClass/{trained[0]}.png"))
    np.testing.assert_array_equal(found, mask > 0)
    assert [p for p in find_problems(load_config(tmp_path / "mine.yaml"))[0] if p.severity == "error"] == []

    again = init(tmp_path, photos, *names, "--force")  # nothing has changed since
    assert "replaced" not in again.output and "of before" not in again.output
    assert (lists / "train.txt").read_text().split() == now


def test_pictures_of_another_folder_with_the_same_names_replace_none(photos, tmp_path):
    names = ("--categories", "even,odd,kite")
    init(tmp_path, photos, *names)
    other = tmp_path / "other"
    photos.rename(other)
    for path in other.glob("*.jpg"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    done = init(tmp_path, other, *names, "--force")
    assert "24 images got another key, because theirs was another's" in done.output
    assert len(list((tmp_path / "data/JPEGImages").iterdir())) == 48


def test_a_twin_of_another_suffix_keeps_its_key_and_drawn_masks_stay(photos, tmp_path):
    names = ("--categories", "even,odd,kite")
    twin, tagged = sorted(
        path.stem for path in photos.glob("*.jpg") if not (photos / f"masks/{path.stem}.png").exists()
    )[:2]
    Image.new("RGB", (64, 48), (9, 200, 9)).save(photos / f"{twin}.png")
    lines = (photos / "list.csv").read_text()
    (photos / "list.csv").write_text(f"{lines}\n{twin}.png,kite")
    init(tmp_path, photos, *names)
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "data/JPEGImages").glob(f"{twin}*")}
    assert set(pictures) == {f"{twin}.jpg", f"{twin}_2.png"}
    mask = tmp_path / f"data/SegmentationClass/{tagged}.png"
    image = Image.open(photos / f"{tagged}.jpg")
    Image.new("L", image.size, 1).save(mask)  # drawn by a person
    drawn = mask.read_bytes()
    image.save(photos / f"{tagged}.jpg", quality=50)
    (photos / f"{twin}.jpg").unlink()
    rows = [line for line in (photos / "list.csv").read_text().split("\n") if line != f"{twin}.jpg,kite"]
    (photos / "list.csv").write_text("\n".join(rows))
    done = init(tmp_path, photos, *names, "--force")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data/JPEGImages").glob(f"{twin}*")} == pictures
    assert mask.read_bytes() == drawn
    assert f"1 images keep masks from before, since none came with them: {tagged}" in done.output


def test_a_picture_of_which_nothing_is_said_any_more_leaves_the_list(photos, tmp_path):
    names = ("--categories", "even,odd,kite")
    init(tmp_path, photos, *names)
    trained = tmp_path / "data/ImageSets/Segmentation/train.txt"
    before = trained.read_text().split()
    tagged, damaged = (
        next(key for key in before if (photos / f"masks/{key}.png").exists() == has) for has in (False, True)
    )
    rows = (photos / "list.csv").read_text().split("\n")
    (photos / "list.csv").write_text("\n".join(row for row in rows if not row.startswith(f"{tagged}.jpg")))
    (photos / f"{damaged}.jpg").write_bytes(b"half")  # stays: it will be readable again
    done = init(tmp_path, photos, *names, "--force")
    assert f"1 images of before come from {photos} no more and are not trained on: {tagged}" in done.output
    assert trained.read_text().split() == [key for key in before if key != tagged]


def test_a_mask_that_is_not_there_any_more_is_told_of_and_one_that_a_person_drew_is_not(photos, tmp_path):
    names = ("--categories", "even,odd,kite")
    init(tmp_path, photos, *names)
    lists = tmp_path / "data/ImageSets/Segmentation"
    trained, held = ((lists / f"{name}.txt").read_text().split() for name in ("train", "val"))
    lost = [next(key for key in keys if (photos / f"masks/{key}.png").exists()) for keys in (held, trained)]
    reviewed = next(key for key in trained if key not in lost and (photos / f"masks/{key}.png").exists())
    tagged = next(key for key in trained if not (photos / f"masks/{key}.png").exists())
    for key in (reviewed, tagged):  # as `review import` leaves them
        picture = Image.open(photos / f"{key}.jpg")
        Image.new("L", picture.size, 1).save(tmp_path / f"data/SegmentationClass/{key}.png")
    for key in (*lost, reviewed):
        (photos / f"masks/{key}.png").unlink()
    told = "2 images keep masks from before, since none came with them: " + ", ".join(sorted(lost))
    for _ in range(2):
        assert f"{told}; if one is wrong, take it out of" in init(tmp_path, photos, *names, "--force").output
    for key in lost:
        (tmp_path / f"data/SegmentationClass/{key}.png").unlink()
    assert "masks from before" not in init(tmp_path, photos, *names, "--force").output


def test_a_picture_that_is_called_otherwise_stays_what_it_was(photos, tmp_path):
    """One held out, which must not be trained on under its new name, and one that takes another's."""
    names = ("--categories", "even,odd,kite")
    init(tmp_path, photos, *names)
    lists = tmp_path / "data/ImageSets/Segmentation"
    trained, held = ((lists / f"{name}.txt").read_text().split() for name in ("train", "val"))
    table = photos / "list.csv"
    table.write_text("\n".join(row for row in table.read_text().split("\n") if not row.startswith(trained[0])))
    for old, new in ((held[0], "anew"), (held[1], trained[0])):
        (photos / f"{old}.jpg").rename(photos / f"{new}.jpg")
        (photos / f"masks/{old}.png").rename(photos / f"masks/{new}.png")
        table.write_text(table.read_text().replace(f"{old}.jpg", f"{new}.jpg"))
    stored = {path.name: path.read_bytes() for path in (tmp_path / "data/JPEGImages").iterdir()}
    for again in (False, True):
        done = init(tmp_path, photos, *names, "--force")
        moved = f"2 images have another name now and are what they were: {held[0]} (anew), {held[1]} ({trained[0]})"
        assert (moved in done.output) != again and "masks from before" not in done.output
        assert {path.name: path.read_bytes() for path in (tmp_path / "data/JPEGImages").iterdir()} == stored
        now = [(lists / f"{name}.txt").read_text().split() for name in ("train", "val")]
        assert now == [trained[1:], held]
    Image.new("RGB", (64, 48)).save(photos / "anew.jpg")
    Image.new("L", (64, 48), 1).save(photos / "masks/anew.png")
    assert "1 images replaced by new versions" in init(tmp_path, photos, *names, "--force").output
    assert (tmp_path / f"data/JPEGImages/{held[0]}.jpg").read_bytes() == (photos / "anew.jpg").read_bytes()
