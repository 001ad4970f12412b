"""`transferseg validate`: twenty planted faults are all named, once each, and nothing else is."""

import io
import json
import zlib

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from components.image_example_gen.inspection import thumbnail
from pipeline.cli import cli
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset

pytestmark = pytest.mark.slow  # whole datasets

STRONG, WEAK = list(DEMO_STRONG), list(DEMO_WEAK)


@pytest.fixture
def place(tmp_path):
    """A drawn dataset with a tags file, without faults."""
    root = draw_demo_dataset(tmp_path / "data", train=120, val=24, progress=False)
    names = ["background", *STRONG, *WEAK]
    lines = ["image,tags"]
    for key in keys_of(root, "train"):
        ids = np.unique(np.array(Image.open(root / "SegmentationClass" / f"{key}.png")))
        lines.append(f"{key},{'|'.join(names[i] for i in ids if 0 < i < 255)}")
    (root / "tags.csv").write_text("\n".join(lines) + "\n")
    config = {
        "dataset": {"root": str(root), "tags": "tags.csv"},
        "categories": {"strong": STRONG, "weak": WEAK},
        "network": {"backbone": "tiny", "weights": None},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def keys_of(root, split):
    return (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()


def validate(place, *arguments):
    command = ["validate", str(place / "config.yaml"), "--json", str(place / "problems.json"), *arguments]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    return done, json.loads((place / "problems.json").read_text())


def test_a_good_dataset_has_no_problems(place):
    done, problems = validate(place)
    assert [p for p in problems if p["severity"] == "error"] == [] and done.exit_code == 0
    assert "usable images:" in done.output and "24 eval" in done.output


def mask_bytes(mask, mode="L"):
    buffer = io.BytesIO()
    Image.fromarray(mask, mode).save(buffer, "PNG")
    return buffer.getvalue()


def bomb():
    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    size = (50_000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_twenty_faults_are_named_once_each_and_nothing_else(place):
    root = place / "data"
    _, before = validate(place)
    images, masks, lists = root / "JPEGImages", root / "SegmentationClass", root / "ImageSets" / "Segmentation"
    train, val = keys_of(root, "train"), keys_of(root, "val")
    tags = (root / "tags.csv").read_text().splitlines()
    tagged = dict(line.split(",") for line in tags[1:])
    strong = [key for key in train if not set(tagged[key].split("|")) & set(WEAK)]
    weak = [key for key in train if key not in strong]
    image = {key: images / f"{key}.jpg" for key in train + val}
    mask = {key: masks / f"{key}.png" for key in train + val}
    size = {key: np.array(Image.open(mask[key])).shape for key in strong}
    wanted = {}

    def fault(key, words, change):
        change()
        wanted[key] = words

    # Images
    fault(strong[0], "image: the file is empty", lambda: image[strong[0]].write_bytes(b""))
    fault(strong[1], "image: not a picture", lambda: image[strong[1]].write_text("hello"))
    half = image[strong[2]].read_bytes()
    fault(strong[2], "image: not a readable JPEG", lambda: image[strong[2]].write_bytes(half[: len(half) // 2]))
    fault(strong[3], "image: no picture", lambda: image[strong[3]].unlink())
    fault(weak[0], "image: ", lambda: image[weak[0]].write_bytes(bomb()))
    # Masks
    fault(
        strong[4],
        "mask: its mask is 5x4 but the picture is",
        lambda: mask[strong[4]].write_bytes(mask_bytes(np.ones((4, 5), np.uint8))),
    )
    ids = np.full(size[strong[5]], 77, np.uint8)
    fault(strong[5], "mask: its mask has ids 77", lambda: mask[strong[5]].write_bytes(mask_bytes(ids)))
    colour = np.full((*size[strong[6]], 3), (9, 8, 7), np.uint8)
    fault(
        strong[6],
        "mask: its mask has the colour (9, 8, 7)",
        lambda: mask[strong[6]].write_bytes(mask_bytes(colour, "RGB")),
    )
    fault(strong[7], "mask: has none, but shows strong", lambda: mask[strong[7]].unlink())
    whole = mask[strong[8]].read_bytes()
    fault(strong[8], "mask: its mask: damaged, ", lambda: mask[strong[8]].write_bytes(whole[: len(whole) // 2]))
    fault(val[0], "mask: no mask", lambda: mask[val[0]].unlink())
    fault(val[1], "image: the file is empty", lambda: image[val[1]].write_bytes(b""))
    # A weak object in the mask that the tags hide
    hidden = np.full(size[strong[9]], 1 + len(STRONG), np.uint8)
    fault(strong[9], f"tags: the mask shows {WEAK[0]} (weak)", lambda: mask[strong[9]].write_bytes(mask_bytes(hidden)))
    # Lists: one twice, one that is evaluated on, one that is not there
    extra = [strong[10], val[2], "nobody"]
    (lists / "train.txt").write_text("\n".join([*train, *extra]) + "\n")
    wanted |= {
        strong[10]: "list: listed twice",
        val[2]: "list: also in the evaluation list",
        "nobody": "image: no picture 'nobody'",
    }
    # Tags: an unknown one, a line twice, a line with too many columns
    tags[1 + train.index(weak[1])] = f"{weak[1]},unicorn"
    tags[1 + train.index(weak[2])] = f"{weak[2]},{WEAK[0]},{WEAK[1]}"
    tags.append(f"{weak[3]},{WEAK[0]}")
    (root / "tags.csv").write_text("\n".join(tags) + "\n")
    # The same file under two names: one warning, for the first
    image[weak[5]].write_bytes(image[weak[4]].read_bytes())

    done, problems = validate(place)
    assert done.exit_code == 2
    new = [problem for problem in problems if problem not in before]
    found = {problem["where"]: problem["what"] for problem in new if problem["where"] != "tags.csv"}
    for key, words in wanted.items():
        assert words in found.pop(key), key
    assert "the same file as " + weak[5] in found.pop(weak[4])
    assert found == {}
    lines = sorted(problem["what"] for problem in new if problem["where"] == "tags.csv")
    assert len(lines) == 3 and all(line.startswith("line ") for line in lines)
    for words in ("unicorn", "separated by |", "is listed twice"):
        assert sum(words in line for line in lines) == 1, words
    assert len(new) == 20


def test_pictures_that_are_trained_and_evaluated_on_are_found_re_encoded(place):
    root = place / "data"
    train, val = keys_of(root, "train"), keys_of(root, "val")
    with Image.open(root / "JPEGImages" / f"{val[0]}.jpg") as original:
        copy = original.resize((original.width // 2 * 2 - 8, original.height - 6))
        copy = copy.resize(original.size)
    copy.save(root / "JPEGImages" / f"{train[0]}.jpg", quality=60)
    _, problems = validate(place)
    [found] = [problem for problem in problems if "looks like" in problem["what"]]
    assert found["where"] == train[0] and val[0] in found["what"] and found["severity"] == "warning"


def test_a_layout_without_anything_is_named_at_once(place):
    root = place / "data"
    (root / "SegmentationClass").rename(root / "Masks")
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    (root / "tags.csv").write_text("picture;labels\n")
    done, problems = validate(place)
    assert done.exit_code == 2 and len(problems) == 3
    assert {problem["where"] for problem in problems} == {"SegmentationClass", "val", "tags.csv"}
    _, problems = validate(place, "--set", "dataset.root=/nowhere", "--set", "dataset.tags=null")
    assert [problem["where"] for problem in problems] == ["dataset.root"]


def test_classes_nobody_shows_are_named(place):
    config = yaml.safe_load((place / "config.yaml").read_text())
    config["categories"]["weak"].append("dragon")
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    _, problems = validate(place)
    about = [problem for problem in problems if problem["where"] == "dragon"]
    assert [problem["severity"] for problem in about] == ["warning", "warning"]


def test_the_page_has_a_thumbnail_of_what_it_names(place):
    """The third training image gets a mask of another size; the fourth is no picture, so it has no thumbnail."""
    from PIL import Image

    root = place / "data"
    third, fourth = keys_of(root, "train")[2:4]
    Image.new("L", (3, 3)).save(root / "SegmentationClass" / f"{third}.png")
    (root / "JPEGImages" / f"{fourth}.jpg").write_bytes(b"<b>no picture</b>")
    done, problems = validate(place, "--html", str(place / "problems.html"))
    page = (place / "problems.html").read_text()
    assert {third, fourth} <= {problem["where"] for problem in problems}
    assert page.count("<strong>") == len(problems)
    assert f'alt="{third}"' in page and f'alt="{fourth}"' not in page and "data:image/jpeg;base64," in page
    assert "<b>" not in page and "errors to mend before a run" in page


def write_config(place, **changes):
    config = yaml.safe_load((place / "config.yaml").read_text())
    for section, values in changes.items():
        config[section] |= values
    (place / "config.yaml").write_text(yaml.safe_dump(config))


def test_text_from_the_data_is_shown_as_it_is_written(place):
    """Markup of the library that draws the table, HTML, and a terminal's control characters, in tags and categories."""
    root = place / "data"
    first, second = keys_of(root, "train")[:2]
    lines = (root / "tags.csv").read_text().splitlines()
    lines[1:3] = [f"{first},[/i]|[link=x]y", f"{second},<i>z</i>"]
    (root / "tags.csv").write_text("\n".join(lines) + "\nab\x1b[31mred,ring\n")
    write_config(place, categories={"weak": [*WEAK, "[/bold]"]})
    done, problems = validate(place, "--html", str(place / "problems.html"))
    assert done.exit_code == 2
    shown = "".join(done.output.split())
    page = (place / "problems.html").read_text()
    for text in ("[/i]", "[link=x]y", "<i>z</i>", "[/bold]"):
        assert text in shown and any(text in problem["where"] + problem["what"] for problem in problems)
    assert "<i>" not in page and "\x1b" not in page and "\x1b[31m" not in done.output and "\\x1b" in shown


def test_masks_that_show_no_category_are_counted(place):
    root = place / "data"
    _, before = validate(place)
    tagged = dict(line.split(",") for line in (root / "tags.csv").read_text().splitlines()[1:])
    strong = [key for key, names in tagged.items() if not set(names.split("|")) & set(WEAK)]
    for key, value in ((strong[0], 0), (strong[1], 255)):
        path = root / "SegmentationClass" / f"{key}.png"
        with Image.open(path) as mask:
            size = mask.size
        path.write_bytes(mask_bytes(np.full(size[::-1], value, np.uint8)))
    _, problems = validate(place)
    [found] = [problem for problem in problems if problem["where"] == "masks"]
    assert found["severity"] == "warning" and not any(problem["where"] == "masks" for problem in before)
    assert f"2 of {len(strong)} training masks show no category" in found["what"]
    assert strong[0] in found["what"] and strong[1] in found["what"]


def test_another_order_than_the_datasets_is_an_error(place):
    (place / "data" / "categories.txt").write_text("\n".join([STRONG[1], STRONG[0], *STRONG[2:], *WEAK]))
    done, problems = validate(place)
    [found] = [problem for problem in problems if problem["where"] == "categories"]
    assert done.exit_code == 2 and f"id 1 is '{STRONG[0]}' here but '{STRONG[1]}'" in found["what"]


def test_keys_that_differ_in_case_and_corrected_images_that_no_list_names_are_warned_about(place):
    root = place / "data"
    first = keys_of(root, "train")[0]
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        data = (root / folder / f"{first}.{suffix}").read_bytes()
        (root / folder / f"{first.upper()}.{suffix}").write_bytes(data)
    lists = root / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("\n".join([*keys_of(root, "val"), first.upper()]))
    (lists / "corrected.txt").write_text(f"{first}\nelsewhere\n")
    write_config(place, dataset={"corrected": "corrected"})
    _, problems = validate(place)
    found = {problem["where"]: problem["what"] for problem in problems if "case alone" in problem["what"]}
    assert found == {first: f"differs from {first.upper()} in case alone; some file systems take them for one: rename"}
    unused = {"severity": "warning", "where": "corrected", "what": "names 1 images that no list names: elsewhere"}
    assert unused | {"kind": "unused"} in problems


@pytest.mark.parametrize("size", [(40, 1), (1, 30), (1, 1)])
@pytest.mark.parametrize("format", ["PNG", "BMP", "JPEG"])
def test_pictures_one_pixel_wide_have_no_thumbnail_or_one(size, format, tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    Image.new("RGB", size).save(tmp_path / "JPEGImages" / "a.jpg", format)
    found = thumbnail(str(tmp_path), "a")
    assert found is None or len(found) == len(thumbnail(str(tmp_path), "a"))
