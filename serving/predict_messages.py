"""What a client of ours needs of TF Serving's Predict call, without TensorFlow, whose import takes seconds.

Field numbers are those of tensorflow_serving/apis/{predict,model}.proto and tensorflow/core/framework/tensor.proto;
protobuf skips what is not here when it reads, and leaves it at its default when it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METHOD = "/tensorflow.serving.PredictionService/Predict"
STRING = 7  # tensorflow.DataType.DT_STRING
_PACKAGE = "transferseg.predict"
_INT32, _INT64, _TEXT, _BYTES, _MESSAGE = 5, 3, 9, 12, 11  # FieldDescriptorProto.Type
_FIELDS: dict[str, list[tuple[str, int, Any, bool]]] = {  # message -> its fields: name, number, type, repeated
    "Dim": [("size", 1, _INT64, False)],
    "Shape": [("dim", 2, "Dim", True)],
    "Tensor": [("dtype", 1, _INT32, False), ("tensor_shape", 2, "Shape", False), ("string_val", 8, _BYTES, True)],
    "Entry": [("key", 1, _TEXT, False), ("value", 2, "Tensor", False)],  # of a map
    "Version": [("value", 1, _INT64, False)],
    "Model": [("name", 1, _TEXT, False), ("version", 2, "Version", False), ("version_label", 4, _TEXT, False)],
    "Request": [("model_spec", 1, "Model", False), ("inputs", 2, "Entry", True)],
    "Response": [("outputs", 1, "Entry", True)],
}


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="transferseg/predict.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                added.type, added.type_name = _MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


_MESSAGES = _messages()


def predict_request(model: str, version: int | str | None, name: str, values: Sequence[bytes]) -> bytes:
    """A serialised PredictRequest with one input, `name`: string [B].

    `version` is a number, a label or None: the newest.
    """
    request = _MESSAGES["Request"]()
    request.model_spec.name = model
    if isinstance(version, str):
        request.model_spec.version_label = version
    elif version is not None:
        request.model_spec.version.value = version
    entry = request.inputs.add(key=name)
    entry.value.dtype = STRING
    entry.value.tensor_shape.dim.add(size=len(values))
    entry.value.string_val.extend(values)
    return request.SerializeToString()


def string_output(response: bytes, name: str) -> list[bytes]:
    """The output `name`, string [B], of a serialised PredictResponse; [] without it."""
    outputs = _MESSAGES["Response"].FromString(response).outputs
    return [value for entry in outputs if entry.key == name for value in entry.value.string_val]
