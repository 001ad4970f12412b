"""TF Serving's PredictionService and ModelService. Classify, Regress and MultiInference answer UNIMPLEMENTED."""

from __future__ import annotations

import logging
import math

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from serving.local_server.metrics import Metrics
from serving.local_server.service import Service
from serving.local_server.status import Code, ServingError, invalid
from trainer.errors import one_line

log = logging.getLogger(__name__)


class Statuses(grpc.ServerInterceptor):
    """Around every call: counts it, and turns errors into gRPC statuses, bytes that are no such message among them."""

    def __init__(self, metrics: Metrics):
        self._metrics = metrics

    def intercept_service(self, continuation, handler_call_details):
        handler = continuation(handler_call_details)
        if handler is None:  # no such method: gRPC says so
            return None
        method = handler_call_details.method.rpartition("/")[2]

        def parse(data: bytes):
            try:
                return handler.request_deserializer(data)
            except DecodeError as error:  # gRPC itself would say INTERNAL
                return invalid(f"not a valid {method} request: {one_line(error)}")

        def call(request, context):
            if isinstance(request, ServingError):
                raise request
            try:
                return handler.unary_unary(request, context)
            except NotImplementedError:
                raise ServingError(Code.UNIMPLEMENTED, f"{method} is not served; use Predict") from None

        def answer(request, context):
            try:
                with self._metrics.call("grpc", method):
                    return call(request, context)
            except ServingError as error:
                context.abort(error.code, error.message)
            except Exception:
                log.exception("%s failed", method)
                context.abort(Code.INTERNAL, "internal error; the server's log has the details")

        return grpc.unary_unary_rpc_method_handler(answer, parse, handler.response_serializer)


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    def Predict(self, request, context):
        _, signature = self._service.resolve(request.model_spec)
        inputs = {name: _to_array(name, value) for name, value in request.inputs.items()}
        chosen = list(request.output_filter) or list(signature.outputs)
        unknown = set(chosen) - set(signature.outputs)
        if unknown:
            raise invalid(f"output tensor alias not found in signature: {sorted(unknown)[0]}")

        def cancel_with_client(future):
            if not context.add_callback(future.cancel):  # already gone
                future.cancel()

        spec, outputs = self._service.predict(request.model_spec, inputs, context.time_remaining(), cancel_with_client)
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name in chosen:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def GetModelMetadata(self, request, context):
        if list(request.metadata_field) != ["signature_def"]:
            raise invalid("metadata_field must be signature_def, the only one there is")
        return self._service.metadata(request.model_spec)


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    def GetModelStatus(self, request, context):
        return self._service.versions.status(request.model_spec)


def _to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """TensorProto -> array. Sizes are checked first: make_ndarray would repeat one value to any shape asked for."""
    size = math.prod(dim.size for dim in proto.tensor_shape.dim)
    strings = proto.dtype == tf.string.as_datatype_enum
    if min([0, *(dim.size for dim in proto.tensor_shape.dim)]) < 0 or proto.tensor_shape.unknown_rank:
        raise invalid(f"{name}: the shape has negative or unknown sizes")
    if strings and len(proto.string_val) != size or size > proto.ByteSize():
        raise invalid(f"{name}: the shape asks for {size} values, more or fewer than were sent")
    try:
        array = tf.make_ndarray(proto)
        tf.as_dtype(array.dtype)
    except Exception as error:  # numpy and TensorFlow raise what they like on types and sizes they do not know
        raise invalid(f"{name}: not a valid tensor: {one_line(error)}") from None
    return array
