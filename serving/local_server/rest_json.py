"""TF Serving's JSON for predictions: row ("instances") and column ("inputs") format, bytes as {"b64": ...}."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.local_server.status import invalid


@dataclass(frozen=True)
class Request:
    signature_name: str
    by_row: bool
    values: Any  # the JSON value of "instances" or "inputs"


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def parse_request(body: bytes) -> Request:
    """Reads a :predict body.

    Raises:
      ServingError: INVALID_ARGUMENT; not JSON, or not exactly one of "instances" and "inputs".
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise invalid('the body must be a JSON object with either "instances" or "inputs"')
    name = request.get("signature_name", "")
    if not isinstance(name, str) or re.search("[\ud800-\udfff]", name):
        raise invalid("signature_name must be a string of whole characters")
    by_row = "instances" in request
    if by_row and not (isinstance(request["instances"], list) and request["instances"]):
        raise invalid('"instances" must be a list with at least one instance')
    return Request(name, by_row, request["instances"] if by_row else request["inputs"])


def to_arrays(request: Request, signature: meta_graph_pb2.SignatureDef) -> dict[str, np.ndarray]:
    """Input arrays by name.

    Raises:
      ServingError: INVALID_ARGUMENT; the values do not fit the signature's inputs, or base64 is broken.
    """
    columns = _columns_of_rows(request.values) if request.by_row else request.values
    if not _is_named(columns):
        if len(signature.inputs) != 1:
            raise invalid(f"name the inputs: {', '.join(sorted(signature.inputs))}")
        columns = {next(iter(signature.inputs)): columns}
    unknown = sorted(columns.keys() - signature.inputs.keys())
    if unknown:
        raise invalid(f"unknown input {unknown[0]}; the signature has {', '.join(sorted(signature.inputs))}")
    return {name: _to_array(name, value, signature.inputs[name].dtype) for name, value in columns.items()}


def from_arrays(outputs: dict[str, np.ndarray], by_row: bool) -> bytes:
    """The response body; a single output stands bare, several stand by name, as TF Serving does it."""
    columns = {name: _to_json(name, value) for name, value in outputs.items()}
    if not by_row:
        return dump({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    if len(columns) == 1:
        return dump({"predictions": next(iter(columns.values()))})
    rows = zip(*columns.values(), strict=True)
    return dump({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]})


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and set(value) != {"b64"}


def _columns_of_rows(rows: list) -> Any:
    named = [_is_named(row) for row in rows]
    if not any(named):
        return rows
    if not all(named) or any(row.keys() != rows[0].keys() for row in rows):
        raise invalid("every instance must have the same inputs")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _to_array(name: str, value: Any, dtype: int) -> np.ndarray:
    if tf.as_dtype(dtype) == tf.string:
        if not isinstance(value, list):
            raise invalid(f"{name}: expected a list with one string per image")
        array = np.empty(len(value), object)
        array[:] = [_to_bytes(f"{name}[{i}]", item) for i, item in enumerate(value)]
        return array
    try:
        return np.array(value, tf.as_dtype(dtype).as_numpy_dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"{name}: {error}") from None


def _to_bytes(where: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not (isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)):
        raise invalid(f'{where}: expected a string or {{"b64": "..."}}')
    text = "".join(value["b64"].split())  # as TF Serving's decoder: padding and white space may be or not
    try:
        return base64.b64decode(text if "=" in text else text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"{where}: Unable to base64 decode: {error}") from None


def _to_json(name: str, value: np.ndarray) -> list:
    if value.dtype != object:
        return value.tolist()
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(item).decode()} for item in value]
    return [item.decode("utf-8", "replace") for item in value]
