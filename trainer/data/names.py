"""Which picture a name means: one rule for lists, tables, JSON, XML and mask files; and the key a picture gets."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from itertools import count
from urllib.parse import parse_qs, unquote, urlsplit

from trainer.errors import ImageFault, shown

STORED_SUFFIXES = (".jpg", ".jpeg", ".png")  # what a dataset's folder holds
_CONVERTED = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jfif", ".jpe")
PICTURE_SUFFIXES = (*STORED_SUFFIXES, *_CONVERTED)
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")  # lossless
MASK_ENDINGS = re.compile(r"[_-](masks?|labels?|labelids|gt|seg|segmentation|annotation|gtfine_labelids)$", re.I)

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an uploaded file
_LIKE_UPLOAD = re.compile(r"^(?=[0-9]*[a-f])[0-9a-f]{8}-")  # outside of its folder: eight digits may be a date
_KEY_BYTES = 200  # file systems take 255; suffixes and unfinished copies need some
_NEAREST = 2000  # our choice: pictures among which the nearest name is looked for
_HINTS = 20  # our choice: names for which it is looked for; each takes some 10 ms


def suffix_of(name: str, suffixes: Collection[str] = PICTURE_SUFFIXES) -> str:
    """The suffix of a file name, as written, if it is one of `suffixes` in any case; else ""."""
    place = name.rfind(".")
    return name[place:] if place > name.rfind("/") + 1 and name[place:].lower() in suffixes else ""


def stem_of(name: str, suffixes: Collection[str] = PICTURE_SUFFIXES) -> str:
    """The name without its suffix: "a/b.c.JPG" -> "a/b.c", "a.b" -> "a.b"."""
    return name[: len(name) - len(suffix_of(name, suffixes))]


def key_of(name: str) -> str:
    """The key of a picture by its relative path: one line, no folder, fit for a file name: "a/b c.jpg" -> "a_b c"."""
    key = unicodedata.normalize("NFC", shown(stem_of(name)))
    key = re.sub(r"[/\\\"]", "_", key).strip().lstrip(".") or "image"
    if len(key.encode()) > _KEY_BYTES:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        key = f"{key.encode()[: _KEY_BYTES - 13].decode(errors='ignore')}-{digest}"
    return key


def free_keys(key: str) -> Iterator[str]:
    """`key`, then `key_2`, `key_3`, ...: what a picture is called where another has its key."""
    yield key
    yield from (f"{key}_{number}" for number in count(2))


def names_picture(text: str) -> bool:
    """Whether a name or an address ends as the name of a picture does."""
    *_, last = variants_of(text)
    return bool(suffix_of(last))


def plain(name: str) -> str:
    """A name as other systems write it -> with /, composed letters, no blanks around."""
    return re.sub(r"^(\./)+", "", unicodedata.normalize("NFC", name).replace("\\", "/").strip())


class Pictures:
    """The picture files of a folder, found by what people's files call them.

    A name may have its suffix in another case or none, more or fewer folders before it, decomposed letters, %20,
    backslashes, a URL or an upload prefix. The strictest reading that fits any picture decides.
    """

    def __init__(self, paths: Iterable[str]):
        """`paths`: relative, with /."""
        self.paths = sorted(paths)
        self._hints = _HINTS
        self._exact = set(self.paths)
        self._claimed: set[str] = set()
        self._called: dict[str, set[tuple[str, ...]]] = defaultdict(set)  # last part -> the parts of names claimed
        self._without_prefix: dict[str, set[str]] = defaultdict(set)  # names that are one but for a prefix

    def claim(self, names: Iterable[str]) -> None:
        """Says what all will be looked for.

        Neither a.tif nor b/a.jpg among them is what a missing a.jpg means, b/a.jpg and c/a.jpg are not both a.jpg, and
        no name with what may be an upload's prefix means the picture that another one means.
        """
        for name in names:
            variants = variants_of(name)
            self._claimed |= self._exact.intersection(variants)
            if not _is_address(name):
                *folders, last = plain(name).split("/")
                self._called[last.casefold()].add((*folders, last))
            self._without_prefix[_last(variants[-1])].add(_last(_address(name)))

    def find(self, name: str) -> str:
        """The path of the picture that a name means.

        Raises:
          ImageFault: "read": none or several; the message has the nearest, or all.
        """
        if name in self._exact:
            return name
        path = self._search(name)
        if rival := self._rival(name, path):
            other = shown("/".join(rival))
            raise ImageFault(
                "read", f"'{shown(name)}' and '{other}' are both {shown(path)} here; give the folder that holds theirs"
            )
        *_, last = variants_of(name)
        called, bare = _last(_address(name)), _last(last)
        others = self._without_prefix.get(bare, set()) - {called}
        is_bare = _stem_folded(_last(plain(path))) == _stem_folded(bare) != _stem_folded(called)
        if others and is_bare and not _is_upload(name):
            reason = f"no picture '{shown(name)}'; {shown(path)} may be that of {shown(min(others))}"
            raise ImageFault("read", f"{reason}; give each picture the name it has there")
        if path in self._claimed:
            suffixes = suffix_of(last).lower(), suffix_of(path).lower()
            deeper = path.count("/") - last.count("/")  # an address may have folders more, which say little
            elsewhere = deeper > 0 or (deeper < 0 and last == plain(name))
            if elsewhere or ("" not in suffixes and suffixes[0] != suffixes[1]):
                raise ImageFault("read", f"no picture '{shown(name)}'; {shown(path)} is named too")
        return path

    def _rival(self, name: str, path: str) -> tuple[str, ...] | None:
        """Another name claimed that would be this path too, although its folders are other ones than this name's."""
        if _is_address(name):
            return None
        parts, depth = plain(name).split("/"), path.count("/") + 1
        for other in sorted(self._called.get(parts[-1].casefold(), ())) if len(parts) > depth else ():
            folders = zip(parts[-2::-1], other[-2::-1], strict=False)
            if len(other) > depth and any(mine != theirs for mine, theirs in folders):
                return other
        return None

    def _search(self, name: str) -> str:
        if ".." in plain(unquote(name)).split("/"):
            raise ImageFault("read", f"'{shown(name)}' leads out of the folder of pictures")
        for variant in variants_of(name):
            for form, index in zip(_FORMS, self._indexes, strict=True):
                found = _agreeing(index.get(form(_last(variant)), ()), variant, form)
                if len(found) > 1:  # the same letters, composed and not
                    found = [path for path in found if unquote(name).endswith(path)] or found
                if len(found) == 1:
                    return found[0]
                if found:
                    raise ImageFault("read", f"'{shown(name)}' may mean {' or '.join(map(shown, found[:3]))}")
        if len(found := self._by_key.get(key_of(plain(name)), ())) == 1:  # named as our own tables and masks name it
            return found[0]
        raise ImageFault("read", f"no picture '{shown(name)}'{self._nearest(name)}")

    def get(self, name: str) -> str | None:
        """As `find`; None for none or several."""
        try:
            return self.find(name)
        except ImageFault:
            return None

    # Made when a name needs them: most are those of files, to the letter.
    @cached_property
    def _indexes(self) -> list[dict[str, list[str]]]:
        lasts = [(path, _last(plain(path))) for path in self.paths]
        return [_grouped((form(last), path) for path, last in lasts) for form in _FORMS]

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        return _grouped((key_of(path), path) for path in self.paths)

    def _nearest(self, name: str) -> str:
        if self._hints == 0:
            return ""
        self._hints -= 1
        stems = {stem_of(_last(path)): path for path in self.paths[:_NEAREST]}
        near = difflib.get_close_matches(stem_of(_last(plain(name))), stems, 1, 0.75)
        return f"; the nearest is '{shown(stems[near[0]])}'" if near else ""


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


def _suffix_folded(name: str) -> str:
    return stem_of(name) + suffix_of(name).lower()


def _stem_folded(name: str) -> str:
    return stem_of(name).casefold()


_FORMS: tuple[Callable[[str], str], ...] = (str, _suffix_folded, str.casefold, stem_of, _stem_folded)  # strict to loose


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def variants_of(name: str) -> list[str]:
    """Readings of a name, plain first, each once."""
    first = plain(name)
    address = _address(name)
    last = _last(address)
    is_upload = _is_upload(name)
    prefix = (_UPLOAD if is_upload else _LIKE_UPLOAD).match(last)
    upload = last[prefix.end() if prefix else 0 :] if prefix or is_upload else address
    # of an address "?d=sub" is no folder
    as_written = () if "://" in first or "?d=" in first else (first, plain(unquote(first)))
    return [*dict.fromkeys((*as_written, address, upload))]


def _address(name: str) -> str:
    """A name, or the path in an address."""
    first = plain(name)
    try:
        url = urlsplit(first) if "://" in first or "?" in first else None
    except ValueError:  # a bracket where an address would stand
        url = None
    inside = parse_qs(url.query).get("d", [url.path])[0] if url else unquote(first)  # Label Studio's ?d=folder/x.jpg
    return plain(unquote(inside))


def _is_address(name: str) -> bool:
    """Whether a name's folders are those of a server."""
    return "://" in name or "?" in name or _is_upload(name)


def _is_upload(name: str) -> bool:
    """Whether a name lies where Label Studio puts uploads."""
    return "/upload/" in f"/{_address(name)}"


def _agreeing(paths: Collection[str], name: str, form: Callable[[str], str]) -> list[str]:
    """Those paths whose folders do not contradict the name's; of several, those that have the most in common."""

    def parts(path: str) -> list[str]:
        *folders, last = path.strip("/").split("/")
        return [form(last), *reversed(folders)]

    wanted = parts(name)
    common = {}
    for path in paths:
        has = parts(plain(path))
        if all(map(str.__eq__, has, wanted)):  # as far as the shorter goes
            common[path] = min(len(has), len(wanted)) + (has == wanted)
    return [path for path, length in common.items() if length == max(common.values())]
