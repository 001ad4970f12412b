"""Damage to files: bytes, tokens of text, and the structure of JSON. Each draws from a `random.Random`."""

import codecs
import json
import re

_WEIRD = [
    *(None, True, "", " ", "x", "0", -1, 0, 1, 2.5, 1e9, -1e9, 1e308, float("nan"), float("inf"), 10**20, -(10**400)),
    *([], {}, [[]], [None], {"a": None}, [[0, 0], "x"], [1e308] * 6, "\ud800", "\udce9.jpg", "\x00\x1b[31m\nred"),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://[",
        "a|b",
        "A" * 3000,
        "１２",
        "%00",
        "%",
        "\u202e",
    ),
]
_TOKENS = [
    b"",
    b"-1",
    b"1e9",
    b"1e999",
    b"nan",
    b"99999999999999999999",
    b"9" * 5000,
    b"0x10",
    b"\x00",
    b"\xff",
    b"\r\n",
]
_TOKENS += [
    b"&amp;",
    b"&x;",
    b"<!--",
    b"]]>",
    b"<a>" * 3000,
    b'"',
    b",",
    b";",
    b":",
    b"\t",
    b"|",
    b"*a",
    b"!!python/none ''",
]
_TOKENS += [
    b"!!timestamp x",
    b"2001-99-99",
    b"!!bool x",
    b"{",
    b"}",
    b"[" * 2000,
    b"- ",
    b"&a [*a]",
    b"<<: 1",
    b"\xe2\x80\xae",
]
_BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + b"".join(
    b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 10) for c in range(ord("c"), ord("m"))
)
_HEADS = [
    codecs.BOM_UTF8,
    codecs.BOM_UTF16_LE,
    codecs.BOM_UTF32_BE,
    b"\x00",
    b"\x1f\x8b",
    b'<?xml version="1.0" encoding="UTF-7"?>',
]
_HEADS += [b'<?xml version="1.0" encoding="x"?>', _BOMB + b"]><annotation>&l;</annotation>", b"%YAML 9.9\n---\n"]


def of_bytes(data, random):
    """A few mutations of bytes, whatever they mean."""
    data = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5])):
        place, length = random.randrange(len(data) + 1), random.choice([1, 2, 8, 64])
        kind = random.randrange(8)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << random.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = random.randbytes(length)
        elif kind == 4:
            data[place:place] = data[place : place + length] * random.choice([1, 3, 50])
        elif kind == 5:
            data[:0] = random.choice(_HEADS)
        elif kind == 6:
            data[place : place + length] = random.choice([b"\x00", b"\xff", b"\x80"]) * length
        else:
            data[place : place + length] = random.randbytes(length)
    return bytes(data)


def of_text(data, random):
    """A word or a number replaced, a line repeated or taken out, or another encoding."""
    kind = random.randrange(8)
    if kind == 0:
        text = data.decode("utf-8", "replace")
        return text.encode(random.choice(["utf-16", "utf-16-be", "utf-32", "utf-7", "cp1252", "cp037"]), "replace")
    if kind == 1:
        lines = data.splitlines(keepends=True) or [b""]
        lines[:] = random.choice([lines * 2, lines[1:], random.sample(lines, len(lines))])
        return b"".join(lines)
    for _ in range(random.choice([1, 1, 3])):
        found = list(re.finditer(rb"[\w.\-/]+|[^\w\s]", data))
        if found:
            match = random.choice(found)
            token = random.choice([*_TOKENS, random.choice(found)[0]])
            data = data[: match.start()] + token + data[match.end() :]
    return data


def of_json(value, random):
    """JSON text in which a few values are gone, of another type, repeated, renamed, nested or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(random.choice([1, 1, 2, 4])):
        places = list(_places(value))
        if not places:
            break
        holder, key = random.choice(places)
        kind = random.randrange(8)
        if kind <= 2:
            holder[key] = random.choice(_WEIRD)
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            other, of_other = random.choice(places)
            holder[key] = json.loads(json.dumps(other[of_other]))
        elif kind == 5:
            for _ in range(random.choice([1, 3, 70, 900])):
                holder[key] = [holder[key]]
        elif kind == 6 and isinstance(holder, list):
            holder[key:key] = [holder[key]] * random.choice([1, 2, 100])
        else:
            holder[key] = random.choice([str, repr, lambda old: {"x": old}, lambda old: f" {old}\t"])(holder[key])
        if len(json.dumps(value)) > 100_000:
            break
    text = json.dumps(value)
    if random.random() < 0.1:  # a key twice
        text = text.replace('"id":', '"id": 1, "id":', 1)
    return text.encode()


def _places(value):
    """Each (list or object, key) in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
