"""The pictures of Label Studio's tasks: uploads and local files come from Label Studio itself."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests

from trainer.data.files import cut, read_bytes
from trainer.errors import ImageFault, one_line

URL, KEY = "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"  # environment variables, named as in label-studio-ml
MAX_BYTES = 100_000_000  # our choice
_TIMEOUT_S = 30  # our choice: for the next bytes, not for the whole picture
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PictureSource:
    """Where Label Studio is, and the legacy token of a user who may see the pictures. Either may be empty."""

    url: str = ""
    key: str = ""

    @classmethod
    def from_environment(cls) -> PictureSource:
        return cls(os.environ.get(URL, ""), os.environ.get(KEY, ""))

    def read(self, picture: str) -> bytes:
        """The bytes that a task's data name: a URL, Label Studio's own path (/data/...), data:...;base64, gs://...

        Files of this machine are never read by name. The token is sent to Label Studio alone.

        Raises:
          ImageFault: "read": it cannot be had; says why.
        """
        if picture.startswith("data:"):
            try:
                return base64.b64decode(picture.partition(";base64,")[2], validate=True)
            except ValueError:
                raise ImageFault("read", "a data: URL whose base64 is damaged") from None
        try:
            scheme, address = urlsplit(picture).scheme, urljoin(self.url, picture)
        except ValueError as error:
            raise ImageFault("read", f"{cut(picture)}: no address ({one_line(error)})") from None
        if picture.startswith("/"):
            if not self.url:
                raise ImageFault("read", f"{cut(picture)} lies in Label Studio; set {URL} and {KEY}")
            return self._download(address)
        if scheme in ("http", "https"):
            return self._download(picture)
        if scheme in ("gs", "s3", "hdfs"):
            return read_bytes(picture)
        raise ImageFault("read", f"{cut(picture)}: neither a URL nor a path in Label Studio")

    def _download(self, url: str) -> bytes:
        ours, theirs = urlsplit(self.url), urlsplit(url)
        is_ours = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
        headers = {"Authorization": f"Token {self.key}"} if is_ours and self.key else {}
        try:
            with requests.get(url, headers=headers, timeout=_TIMEOUT_S, stream=True) as response:
                if response.status_code != 200:
                    hint = f"; is {KEY} a legacy token?" if response.status_code in (401, 403) else ""
                    raise ImageFault("read", f"{cut(url)}: HTTP {response.status_code}{hint}")
                data = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    data += chunk
                    if len(data) > MAX_BYTES:
                        raise ImageFault("size", f"{cut(url)}: more than {MAX_BYTES} bytes")
                return bytes(data)
        except requests.RequestException as error:
            raise ImageFault("read", f"{cut(url)}: {one_line(error)}") from None
