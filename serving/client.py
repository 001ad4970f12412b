"""Asks a TF Serving compatible server for masks, over gRPC or REST."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import quote

import grpc
import requests
from google.protobuf.message import DecodeError

from serving.predict_messages import METHOD, predict_request, string_output
from trainer.errors import UserError, one_line

_FIRST_PAUSE = 0.1  # our choice: seconds before the first retry; doubled each time
_LATE = "raise the timeout, --timeout of query and of serve"
_LARGE = "send fewer or smaller pictures, or raise serve --max-request-mb"
_REMEDIES = {  # by what refusals say
    "DEADLINE_EXCEEDED": _LATE,
    "no answer within": _LATE,
    "larger than max": _LARGE,  # gRPC's; RESOURCE_EXHAUSTED is also said of calls and of memory
    "HTTP 413": _LARGE,
}


class _Unavailable(Exception):
    """The server is not there or busy: worth another try."""


class SegmentationClient:
    """Synchronous client; close it or use it in a `with` block.

    Args:
      address: "host:port", "[host]:port" of IPv6.
      model: the name the model is served under.
      transport: "grpc" or "rest".
      timeout: seconds for one `predict` call, retries included; over REST, for connecting and for every wait for more
        of the response.
      retries: further tries when the server is unavailable (gRPC UNAVAILABLE, HTTP 503, no connection); other errors
        are never tried again.
      version: a version's number, or its label, such as "stable"; the newest if None.
    """

    def __init__(
        self,
        address: str,
        model: str = "transferseg",
        transport: Literal["grpc", "rest"] = "grpc",
        timeout: float = 30.0,
        retries: int = 3,
        version: int | str | None = None,
    ):
        found = re.fullmatch(r"(?:[^:/\[\]]+|\[[^/\[\]]+\]):([0-9]{1,5})", address)
        if not found or not 0 < int(found[1]) < 65536:
            how = "give HOST:PORT without http://, for example localhost:8500; of IPv6 [::1]:8500"
            raise UserError(f"server '{address}': {how}")
        self._address, self._model, self._version = address, model, version
        self._timeout, self._retries = timeout, retries
        self._call: Callable[[list[bytes], float], list[bytes]]
        if transport == "grpc":
            options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
            channel = grpc.insecure_channel(address, options)
            self._predict = channel.unary_unary(METHOD)
            self._call, self.close = self._call_grpc, channel.close
        elif transport == "rest":
            self._session = requests.Session()
            self._call, self.close = self._call_rest, self._session.close
        else:
            raise UserError(f"transport '{transport}': choose grpc or rest")

    def __enter__(self) -> SegmentationClient:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def predict(self, images: Sequence[bytes]) -> list[bytes]:
        """Masks of encoded images, in order.

        Args:
          images: JPEG, PNG, GIF or BMP files' bytes; sizes may differ.

        Returns:
          palette PNG files' bytes, each at its image's own size.

        Raises:
          UserError: the server refused the call, or did not answer in time.
        """
        deadline = time.monotonic() + self._timeout
        pause, tries_left = _FIRST_PAUSE, self._retries
        while True:
            try:
                masks = self._call(list(images), max(deadline - time.monotonic(), 0.001))
            except _Unavailable as error:
                if not tries_left or time.monotonic() + pause >= deadline:
                    raise self._error(f"unavailable: {error}; is it running?") from None
            else:
                if len(masks) != len(images):
                    problem = f"{len(masks)} masks for {len(images)} images; does it serve a segmentation model?"
                    raise self._error(problem)
                return masks
            time.sleep(pause)
            pause, tries_left = 2 * pause, tries_left - 1

    def _error(self, what: str) -> UserError:
        remedy = next((f"; {remedy}" for sign, remedy in _REMEDIES.items() if sign in what), "")
        return UserError(f"server {self._address}: {what}{remedy}")

    def _call_grpc(self, images: list[bytes], timeout: float) -> list[bytes]:
        request = predict_request(self._model, self._version, "image_bytes", images)
        try:
            return string_output(self._predict(request, timeout=timeout), "mask_bytes")
        except grpc.RpcError as error:
            if "an http1.x server" in str(error.details()):
                raise self._error("this port speaks HTTP, not gRPC; choose --transport rest, or another port") from None
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise _Unavailable(error.details()) from None
            raise self._error(f"{error.code().name}: {error.details()}") from None
        except DecodeError:
            raise self._error("its answer is none of TF Serving's Predict") from None

    def _call_rest(self, images: list[bytes], timeout: float) -> list[bytes]:
        if isinstance(self._version, str):
            version = f"/labels/{quote(self._version, safe='')}"
        else:
            version = "" if self._version is None else f"/versions/{self._version}"
        url = f"http://{self._address}/v1/models/{quote(self._model, safe='')}{version}:predict"
        body = {"instances": [{"b64": base64.b64encode(image).decode()} for image in images]}
        try:
            response = self._session.post(url, json=body, timeout=timeout)
        except requests.Timeout:
            raise self._error(f"no answer within {self._timeout:g} s") from None
        except requests.ConnectionError as error:
            if "BadStatusLine" in str(error):
                raise self._error("this port does not speak HTTP; choose --transport grpc, or another port") from None
            raise _Unavailable(str(error)) from None
        except requests.RequestException as error:  # an answer cut short, an address that is none
            raise self._error(one_line(error)) from None
        if response.status_code == 503:
            raise _Unavailable(response.text)
        try:
            answer = response.json()
            if response.status_code == 200:
                return [base64.b64decode(mask["b64"]) for mask in answer["predictions"]]
            reason = answer["error"]
        except (ValueError, KeyError, TypeError):
            reason = response.text[:200]
        raise self._error(f"HTTP {response.status_code}: {reason}")
