import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from pipeline.cli import cli
from pipeline.evaluate import evaluate_folders, parse_categories
from trainer.data.categories import palette
from trainer.errors import UserError

NAMES = "cat,dog,bird"


def write(path, ids, mode="P"):
    image = Image.fromarray(np.asarray(ids, np.uint8), mode)
    if mode == "P":
        image.putpalette(palette().tobytes())
    path.parent.mkdir(exist_ok=True)
    image.save(path)


@pytest.fixture
def folders(tmp_path):
    """One palette pair and one grey pair of another size; bird appears nowhere."""
    write(tmp_path / "truth" / "a.png", [[0, 0, 1, 1], [0, 255, 1, 2]])
    write(tmp_path / "prediction" / "a.png", [[0, 1, 1, 1], [0, 2, 1, 0]])
    write(tmp_path / "truth" / "b.png", [[2, 2, 0]], "L")
    write(tmp_path / "prediction" / "b.png", [[2, 255, 0]], "L")
    return tmp_path / "truth", tmp_path / "prediction"


def evaluate(folders, categories=NAMES, strong="cat"):
    screen = io.StringIO()
    result = evaluate_folders(*folders, categories, strong, Console(file=screen, width=100))
    return result, screen.getvalue()


def test_scores_counted_by_hand(folders):
    result, screen = evaluate(folders)
    # background: 3 right, 1 taken for cat, 1 dog taken for it; cat: 3 right, 1 too many; dog: 1 right, 2 missed.
    expected = {"background": 3 / 5, "cat": 3 / 4, "dog": 1 / 3, "bird": None}
    assert result["per_class"] == pytest.approx(expected)
    assert result["miou"] == pytest.approx((3 / 5 + 3 / 4 + 1 / 3) / 3)
    assert result["strong_miou"] == pytest.approx(3 / 4)
    assert result["weak_miou"] == pytest.approx(1 / 3)
    assert result["pixel_accuracy"] == pytest.approx(7 / 10)
    assert result["images"] == 2
    rows = [line.replace("│", " ").split() for line in screen.splitlines()]
    assert ["cat", "masks", "75.0"] in rows
    assert ["bird", "tags", "n/a"] in rows
    assert ["mean", "56.1"] in rows


def test_only_the_true_masks_count(folders):
    before, _ = evaluate(folders)
    write(folders[1] / "another.png", [[1]])
    assert evaluate(folders)[0] == before


def test_no_strong_categories_have_no_mean(folders):
    assert evaluate(folders, strong="")[0]["strong_miou"] is None


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda t, p: (p / "b.png").unlink(), r"prediction: 1 of 2 masks in .*truth have no .*no picture 'b\.png'"),
        (lambda t, p: [path.rename(p / f"x{path.name}") for path in list(p.iterdir())], r"'a\.png'.*'b\.png'"),
        (lambda t, p: write(t / "b.tif", [[0]]), r"'b\.tif' and 'b\.png' both mean 'b\.png'"),
        (lambda t, p: (write(p / "b.tif", [[0]]), (p / "b.png").rename(p / "b.bmp")), r"may mean b\.bmp or b\.tif"),
        (lambda t, p: write(p / "b.png", [[0, 0]]), r"prediction/b\.png against .*sizes differ"),
        (lambda t, p: write(p / "b.png", [[2, 4, 0]]), r"prediction/b\.png: .* ids 4; there are 3"),
        (lambda t, p: write(t / "b.png", [[2, 9, 0]]), r"truth/b\.png: .* ids 9; there are 3"),
        (lambda t, p: write(t / "b.png", np.full((1, 3, 3), (9, 8, 7)), "RGB"), r"truth/b\.png: .*colour \(9, 8, 7\)"),
        (lambda t, p: (p / "b.png").write_bytes(b"no image"), r"prediction/b\.png: .*not a picture"),
        (lambda t, p: (p / "b.png").write_bytes((p / "b.png").read_bytes()[:40]), r"prediction/b\.png: .*not"),
        (lambda t, p: [path.unlink() for path in t.iterdir()], r"truth: holds no mask"),
        (lambda t, p: [path.unlink() for path in p.iterdir()], r"prediction: holds no mask"),
    ],
)
def test_a_bad_file_is_named(folders, break_it, message):
    break_it(*folders)
    with pytest.raises(UserError, match=message) as caught:
        evaluate(folders)
    assert "\n" not in str(caught.value)


def test_all_bad_files_are_named(folders):
    write(folders[0] / "a.png", [[9]])
    write(folders[1] / "b.png", [[0]])
    with pytest.raises(UserError, match=r"truth/a\.png.*prediction/b\.png against"):
        evaluate(folders)


def test_masks_of_other_kinds_and_names_are_read(tmp_path):
    ids = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    kinds = {
        "a.png": Image.fromarray(ids > 0),  # 1 bit
        "b.PNG": Image.fromarray(ids.astype(np.uint16)),
        "c.tif": Image.fromarray(ids),
        "d.png": Image.merge("LA", [Image.fromarray(ids), Image.fromarray(np.full_like(ids, 255))]),
        "e\u0301 x.png": Image.fromarray(np.stack([ids * 128, ids * 0, ids * 0], -1)),  # VOC's colour of id 1
    }
    for name, image in kinds.items():
        (tmp_path / "prediction").mkdir(exist_ok=True)
        image.save(tmp_path / "prediction" / name)
        write(tmp_path / "truth" / f"{name[0]}.png" if name.isascii() else tmp_path / "truth" / "\xe9 x.png", ids)
    (tmp_path / "truth" / "readme.txt").write_text("not a mask")
    result, screen = evaluate((tmp_path / "truth", tmp_path / "prediction"))
    assert (result["images"], result["per_class"]["cat"]) == (5, 1)
    assert "not scored, no masks by their names: readme.txt" in screen


def test_masks_of_0_and_255_show_an_only_category(tmp_path):
    write(tmp_path / "truth" / "a.png", [[0, 255, 255, 0]], "L")
    write(tmp_path / "truth" / "b.png", [[0, 0, 0, 0]], "L")
    write(tmp_path / "prediction" / "a.png", [[0, 1, 0, 0]], "L")
    write(tmp_path / "prediction" / "b.png", [[0, 0, 0, 0]], "L")
    folders = tmp_path / "truth", tmp_path / "prediction"
    result, screen = evaluate(folders, "background,[b]dog", "")
    assert result["per_class"]["[b]dog"] == 1 / 2
    assert "the true masks hold 0 and 255 alone: 255 is read as [b]dog" in " ".join(screen.split())
    write(folders[0] / "b.png", [[0, 1, 0, 0]], "L")  # an id: 255 is void
    result, screen = evaluate(folders, "background,dog", "")
    assert result["per_class"]["dog"] == 0 and "255" not in screen


def test_scores_of_background_alone_are_told(tmp_path):
    write(tmp_path / "truth" / "a.png", [[0, 255, 255, 0]], "L")
    write(tmp_path / "truth" / "b.png", [[255, 255, 255, 255]], "L")
    for name in "ab":
        write(tmp_path / "prediction" / f"{name}.png", [[0, 1, 2, 0]], "L")
    result, screen = evaluate((tmp_path / "truth", tmp_path / "prediction"))
    assert result["miou"] == 1
    assert result["notes"][0].startswith("1 of 2 true masks are void (255) everywhere")
    assert "no pixel of the true masks is of a category (75.0 % are void" in " ".join(screen.split())


def test_a_missing_folder_is_named(folders, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        evaluate((tmp_path / "nowhere", folders[1]))


def test_categories_by_split_by_list_and_with_background():
    split = parse_categories("voc-split-3", "")
    assert split.num_classes == 21 and "person" in split.strong
    assert parse_categories("voc-split-3", "dog").strong == ("dog",)
    assert parse_categories("background,cat", "").foreground == ("cat",)
    assert parse_categories("background, cat, dog", "dog").foreground == ("cat", "dog")


@pytest.mark.parametrize(
    ("categories", "strong", "message"),
    [
        ("voc-split-9", "", "not a split"),
        ("cat,cat", "", "listed twice"),
        ("cat,dog", "cow", "unknown category 'cow'"),
        (",", "", "give"),
    ],
)
def test_unknown_categories(categories, strong, message):
    with pytest.raises(UserError, match=message):
        parse_categories(categories, strong)


def test_the_command(folders, tmp_path):
    arguments = ["--truth", folders[0], "--prediction", folders[1], "--categories", NAMES, "--strong", "cat"]
    outcome = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--json", str(tmp_path / "s.json")])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads((tmp_path / "s.json").read_text())["images"] == 2
    assert "pixel accuracy" in outcome.output


@pytest.mark.parametrize("place", ["truth/categories.txt", "categories.txt", "prediction/summary.json"])
def test_masks_whose_ids_mean_something_else_are_refused(folders, place):
    def say(*names):
        text = "\n".join(names) if place.endswith("txt") else json.dumps({"categories": ["background", *names]})
        (folders[0].parent / place).write_text(text)

    say("Cat", "dog")  # fewer names, in another case, are no fault
    evaluate(folders)
    say("dog", "cat", "bird")
    with pytest.raises(UserError, match=f"id 1 is 'cat' here but 'dog' in .*{place}.*order: dog,cat,bird"):
        evaluate(folders)
    evaluate(folders, "dog,cat,bird")


def test_a_summary_of_something_else_is_not_asked(folders):
    for text in ("[]", "{}", "no JSON", '{"categories": null}', '{"categories": [{"id": 1}, 2]}', '{"categories": 3}'):
        (folders[1] / "summary.json").write_text(text)
        evaluate(folders)
