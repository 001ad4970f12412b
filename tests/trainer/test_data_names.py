"""Names of pictures, keys, names of categories, the tags table and text files, as people write them."""

import os
import unicodedata

import pytest

from pipeline.cli.common import names_of
from trainer.data.category_names import names_by_id, read_names
from trainer.data.csv_table import has_header
from trainer.data.files import decode_text, read_bytes, walk
from trainer.data.names import Pictures, free_keys, key_of, stem_of
from trainer.data.tags_table import HEADER, read_tags_table, write_tags_table
from trainer.errors import ImageFault, UserError, shown

PICTURES = Pictures(["1.jpg", "sub/1.jpg", "a.b c.JPG", "x/y/2.png", "3.jpg", "3.png", "UP.JPG", "\u00e9.jpg"])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("1.jpg", "1.jpg"),
        ("1", "1.jpg"),
        ("sub/1", "sub/1.jpg"),
        ("D:\\all\\sub\\1.jpg", "sub/1.jpg"),
        ("photos/1.jpg", "1.jpg"),
        ("a.b c", "a.b c.JPG"),
        ("a.b%20c.jpg", "a.b c.JPG"),
        ("A.B C.jpg", "a.b c.JPG"),
        ("2", "x/y/2.png"),
        ("y/2.png", "x/y/2.png"),
        ("x_y_2", "x/y/2.png"),
        ("3.png", "3.png"),
        ("up.jpg", "UP.JPG"),
        ("e\u0301.jpg", "\u00e9.jpg"),
        ("/data/local-files/?d=photos/UP.JPG", "UP.JPG"),
        ("/data/upload/7/0123abcd-2.png", "x/y/2.png"),
        ("/data/upload/7/01234567-2.png", "x/y/2.png"),
        ("images/0123abcd-2.png", "x/y/2.png"),
    ],
)
def test_the_strictest_reading_that_fits_decides(name, path):
    assert PICTURES.find(name) == path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("3", "may mean 3.jpg or 3.png"),
        ("z/2.png", "no picture 'z/2.png'"),
        ("../1.jpg", "leads out of the folder"),
        ("%2e%2e/1.jpg", "leads out of the folder"),
        ("4.jpg", "no picture '4.jpg'"),
        ("20240101-2.png", "no picture '20240101-2.png'"),
    ],
)
def test_names_that_mean_none_or_several_are_told(name, words):
    with pytest.raises(ImageFault, match=words):
        PICTURES.find(name)


@pytest.mark.parametrize("other", ["0123abce-cam.jpg", "cam.jpg", "b/cam.jpg"])
def test_a_name_with_a_prefix_means_no_picture_that_another_one_may_mean(other):
    pictures = Pictures(["sub/cam.jpg"])
    pictures.claim(["0123abcd-cam.jpg", other])
    with pytest.raises(ImageFault, match="no picture '0123abcd-cam.jpg'; sub/cam.jpg may be that of .*cam.jpg; give"):
        pictures.find("0123abcd-cam.jpg")
    assert Pictures(["sub/cam.jpg"]).find("0123abcd-cam.jpg") == "sub/cam.jpg"


def test_keys_are_one_line_fit_for_a_file_name():
    assert key_of("a/b c.jpg") == "a_b c" and key_of("a.b.JPEG") == "a.b" and key_of(".png") == "png"
    assert key_of(unicodedata.normalize("NFD", "\u00e9.jpg")) == "\u00e9"
    assert "\n" not in key_of("a\nb.jpg") and key_of('"q".jpg') == "_q_" and key_of(" .jpg") == "image"
    long = [key_of("\u00e9" * 300 + end) for end in ("a.jpg", "b.jpg")]
    assert long[0] != long[1] and all(len(key.encode()) <= 200 for key in long)
    assert key_of(os.fsdecode(b"bad\xff.jpg")) == "bad\\xff".replace("\\", "_")
    keys = free_keys("a")
    assert [next(keys) for _ in range(3)] == ["a", "a_2", "a_3"]
    assert stem_of("a/b.c") == "a/b.c" and stem_of("a/.jpg") == "a/.jpg"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["background", "dog"], ["dog"]),
        (["_background_", " dog ", 7], ["dog", "7"]),
        ([], []),
        (["e\u0301t\u00e9"], ["\u00e9t\u00e9"]),
    ],
)
def test_category_names_by_id(names, found):
    assert names_by_id(names, "here") == found


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["dog", "Dog"], "'Dog' and 'dog' differ in case alone"),
        (["dog", "dog "], "'dog' is listed twice"),
        (["dog", "background"], "'background' is no category: background is id 0"),
        (["dog", "void"], "'void' is no category"),
        (["dog", "  "], "name is empty"),
        (["a|b"], "which separates tags"),
        (["a\u2028b"], "cannot be printed"),
        ([None], "is no name of a category"),
        ([True], "is no name of a category"),
        ([f"c{i}" for i in range(255)], "255 categories; 8-bit masks hold at most 254"),
    ],
)
def test_category_names_that_ids_cannot_rely_on(names, words):
    with pytest.raises(UserError, match="here: .*" + words.replace("|", r"\|")):
        names_by_id(names, "here")


def test_an_empty_line_between_names_would_shift_ids(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfbackground\r\ndog\r\ncat\r\n\r\n")
    assert read_names(tmp_path / "names.txt") == ["dog", "cat"]
    (tmp_path / "names.txt").write_text("dog\n\ncat\n")
    with pytest.raises(UserError, match="names.txt: line 2 is empty, so ids below it are in doubt"):
        read_names(tmp_path / "names.txt")


TABLES = {
    "plain": b"image,tags\n1.jpg,dog|cat\n2.jpg,dog\n",
    "Excel with semicolons": b"image;tags\r\n1.jpg;dog|cat\r\n2.jpg;dog\r\n",
    "tabs": b"image\ttags\n1.jpg\tdog|cat\n2.jpg\tdog\n",
    "UTF-16": "image,tags\r\n1.jpg,dog|cat\r\n2.jpg,dog\r\n".encode("utf-16"),
    "quotes and a byte order mark": b'\xef\xbb\xbf"image","tags"\r\n"1.jpg","dog |cat "\r\n"2.jpg","dog|dog"\r\n',
    "old Mac": b"Image,Tags\r1.jpg,dog|cat\r2.jpg,dog\r",
    "blank lines": b"image,tags\n\n1.jpg,dog|cat\n , \n2.jpg,dog|\n\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_as_spreadsheets_write_them(kind, tmp_path):
    (tmp_path / "t.csv").write_bytes(TABLES[kind])
    table = read_tags_table(tmp_path / "t.csv").strict()
    assert [(row.image, row.tags) for row in table.rows] == [("1.jpg", ("dog", "cat")), ("2.jpg", ("dog",))]
    assert table.names == ["dog", "cat"] and has_header(tmp_path / "t.csv", HEADER)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1.jpg,dog;cat", "holds a semicolon; tags are separated by"),
        ("1.jpg,dog,cat", "expected image,tags"),
        (",dog", "expected image,tags"),
        ("1.jpg", "expected image,tags"),
        ("1.jpg,a\u200bb", "cannot be printed"),
        ('1.jpg,"dog', "quote"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(line, words, tmp_path):
    (tmp_path / "t.csv").write_text(f"image,tags\n0.jpg,dog\n{line}\n")
    table = read_tags_table(tmp_path / "t.csv")
    assert [row.image for row in table.rows] == ["0.jpg"] and table.faults[0][0] == 3 and words in table.faults[0][1]
    with pytest.raises(UserError, match=r"t.csv: line 3: "):
        table.strict()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"name,label\n", "line 1 must be the header image,tags"),
        (b"", "line 1 must be the header image,tags"),
        (b"image,tags\n1.jpg,d\0g\n", "line 2 holds a NUL byte"),
        (b"image,tags\n1.jpg,caf\xe9\n", "line 2 is not a text in UTF-8"),
        (None, "no such file"),
    ],
)
def test_what_is_no_table_is_refused_by_name(data, words, tmp_path):
    if data is not None:
        (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"t\.csv.*" + words if data is not None else words):
        read_tags_table(tmp_path / "t.csv")
    assert not has_header(tmp_path / "t.csv", HEADER) or b"image" in (data or b"")


def test_tables_round_trip(tmp_path):
    rows = {'a "b", c': ("dog", "caf\u00e9"), "=1+1": (), "x": ("dog",)}
    (tmp_path / "t.csv").write_bytes(write_tags_table(rows))
    assert {row.image: row.tags for row in read_tags_table(tmp_path / "t.csv").strict().rows} == rows


def test_files_below_a_folder(tmp_path):
    for name in ("a.jpg", "b/c.jpg", ".hidden/d.jpg", "__MACOSX/e.jpg", "._a.jpg", "@eaDir/f.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "out.jpg").write_bytes(b"y")
    os.symlink(tmp_path / "out.jpg", tmp_path / "in/link.jpg")
    os.symlink("a.jpg", tmp_path / "in/inner.jpg")
    paths, out = walk(tmp_path / "in")
    assert paths == ["a.jpg", "b/c.jpg", "inner.jpg"] and [name for name, _ in out] == ["link.jpg"]
    assert walk(tmp_path / "in", follow_links=True) == (["a.jpg", "b/c.jpg", "inner.jpg", "link.jpg"], [])
    assert walk(tmp_path / "nowhere") == ([], [])


def test_reading_bytes_says_why_not(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "not a regular file"), (tmp_path, ""), (tmp_path / "no", "no such file")):
        with pytest.raises(ImageFault, match=words):
            read_bytes(path)
    with pytest.raises(ImageFault):
        read_bytes("a\0b")
    with pytest.raises(ImageFault, match="not a regular file"):
        read_bytes("/dev/zero")
    assert shown("a\udcffb\n\u202e") == "a\\xffb\\n\\u202e"
    assert decode_text("\ufeffa\r\nb".encode("utf-16-le"), "f", "text") == "a\nb"


def test_a_link_to_the_folder_itself_leads_nowhere(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "loop").symlink_to(".")
    assert walk(tmp_path) == (["a.jpg"], [])


@pytest.mark.parametrize("value", ["dog,cat", "[dog, cat]", "['dog', 'cat']", "1: dog, 2: cat", " dog , cat,"])
def test_names_on_the_command_line(value):
    assert names_of(value) == ["dog", "cat"]


def test_names_with_semicolons_are_refused():
    with pytest.raises(UserError, match="separate names by commas"):
        names_of("dog;cat")
