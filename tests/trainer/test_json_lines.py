import pytest

from trainer.data.files import from_lines, read_lines, to_lines
from trainer.errors import ImageFault


def test_a_name_that_holds_a_line_separator_stays_one_record(tmp_path):
    records = [{"key": "a\u2028b\x85c\nd\re", "tags": [1, 2]}, {"key": "é", "share": 0.5}]
    (tmp_path / "letters.jsonl").write_bytes(to_lines(records))
    assert read_lines(tmp_path / "letters.jsonl") == from_lines(to_lines(records)) == records


def test_no_record_is_an_empty_file_and_no_file_is_named(tmp_path):
    assert to_lines([]) == b"" and from_lines(b"") == []
    with pytest.raises(ImageFault, match="none.jsonl"):
        read_lines(tmp_path / "none.jsonl")
