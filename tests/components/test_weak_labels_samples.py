"""Which picture a line of the tags table means, without any network."""

from pathlib import Path

import pytest

from components.weak_labels.folder_inputs import categories_of, plan
from trainer.data.categories import from_lists
from trainer.data.tags_table import read_tags_table
from trainer.errors import UserError

CATEGORIES = from_lists([], ["dog", "cat"])


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "tags.csv"
    path.write_bytes(text.encode(encoding))
    return read_tags_table(path)


def planned(tmp_path, names, text, **options):
    sources, dead = plan([Path("photos", name) for name in names], table(tmp_path, text, **options), CATEGORIES)
    return {source.key: source.tags for source in sources}, {letter["key"]: letter["reason"] for letter in dead}


def test_lines_find_their_pictures_whatever_they_call_them(tmp_path):
    names = ["a.bmp", "B.WEBP", "c.d.gif", "e f.tif", "\u00e9.avif", "g.jpg"]
    lines = ["photos/a.bmp;dog", "b.webp;cat", "c.d;dog|cat", "e%20f.tif;dog", "e\u0301;cat", "C:\\photos\\g.JPG;dog"]
    found, dead = planned(tmp_path, names, "image;tags\r\n" + "\r\n".join(lines), encoding="utf-16")
    assert not dead
    assert found == {"a": (1,), "B": (2,), "c.d": (1, 2), "e f": (1,), "\u00e9": (2,), "g": (1,)}


def test_every_wrong_line_and_every_picture_without_one_is_named(tmp_path):
    lines = ["one.jpg,Dog", "two.jpg,", "thre.jpg,dog", 'four.jpg,"dog', "five.jpg,dog;cat", "six.jpg,dog", "six,cat"]
    lines.append("six.jpg," + "dog|" * 50_000)
    names = ["one.jpg", "two.jpg", "three.jpg", "six.jpg", "six.png", "[b]bold.jpg"]
    found, dead = planned(tmp_path, names, "image,tags\n" + "\n".join(lines))
    assert found == {"six": (1,)}
    assert "line 2: unknown category 'Dog'; write dog" in dead["one"]
    assert dead["two"] == "line 3: no tag; give at least one"
    assert "nearest is 'three.jpg'" in dead["thre.jpg"]
    assert dead["three"] == dead["[b]bold"] == "no line in the tags file"
    assert dead["line 5"] == "line 5: a quote is opened and not closed on the same line"
    assert "semicolon" in dead["line 6"] and "limit" in dead["line 9"]
    assert "six.png" in dead["six"] or "may mean" in dead["six"]


def test_categories_by_first_appearance(tmp_path):
    assert categories_of(table(tmp_path, "image,tags\na,yak\nb,zebra|yak\n")).foreground == ("yak", "zebra")
    with pytest.raises(UserError, match="case alone"):
        categories_of(table(tmp_path, "image,tags\na,Yak\nb,yak\n"))
    with pytest.raises(UserError, match="names no category"):
        categories_of(table(tmp_path, "image,tags\na,\n"))
