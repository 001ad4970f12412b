"""YAML from people: bombs, doubled keys and odd values are one short line, soon."""

import pytest

from trainer.data.yaml_text import load_yaml, read_yaml
from trainer.errors import UserError


def grown(first, line):
    """Nine levels, each nine times the one before."""
    levels = [f"l0: &l0 {first}"]
    levels += [f"l{i}: &l{i} {line(','.join([f'*l{i - 1}'] * 9))}" for i in range(1, 10)]
    return "\n".join(levels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (grown("[x]", lambda inside: f"[{inside}]"), "stands for more than"),
        (grown("{k: x}", lambda inside: f"{{<<: [{inside}]}}"), "stands for more than"),
        ("a: &a [*a]", "an alias inside itself"),
        ("a: " + "[" * 5_000, "nested too deeply"),
        ("a: 1\nb: {c: 2, c: 3}", "line 2: the key 'c' is given twice"),
        ("a: 2024-13-45", "month must be"),
        ("a: !!bool perhaps", "not valid YAML"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: *" + "b" * 5000, "not valid YAML"),
        ("? [1]\n: 2", "not valid YAML"),
    ],
    ids=["lists", "merges", "itself", "deep", "twice", "date", "bool", "object", "number", "alias", "key"],
)
def test_each_is_refused_on_one_short_line(text, words):
    with pytest.raises(UserError, match=words) as caught:
        load_yaml(text, "run.yaml")
    message = str(caught.value)
    assert message.startswith("run.yaml: ") and "\n" not in message and len(message) < 500


def test_aliases_and_merges_in_measure_are_read():
    text = "base: &base {steps: 3, rate: 0.1}\ncam: *base\nl_net: {<<: *base, steps: 4}\n"
    assert load_yaml(text, "x")["l_net"] == {"steps": 4, "rate": 0.1}
    assert load_yaml("", "x") is None


def test_aliases_are_copies():
    values = load_yaml("cam: &stage {steps: 3, scale: [1, 2]}\nl_net: *stage\nmore: {<<: *stage}\n", "x")
    values["cam"]["steps"] = 5
    values["cam"]["scale"].append(3)
    assert values["l_net"] == values["more"] == {"steps": 3, "scale": [1, 2]}


def test_files_are_read_in_any_unicode_and_a_long_one_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes("a: grün\r\n".encode("utf-16"))
    assert read_yaml(path, "a config") == {"a": "grün"}
    path.write_text("a: " + "x" * 1_000_001)
    with pytest.raises(UserError, match="bytes are too many; give a config"):
        read_yaml(path, "a config")
