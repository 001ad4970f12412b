"""TF Serving's PredictionService and ModelService. Classify, Regress and MultiInference answer UNIMPLEMENTED."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.local_server.service import Service
from serving.local_server.status import Code, ServingError, invalid

log = logging.getLogger(__name__)


@contextmanager
def _replying(service: Service, context: grpc.ServicerContext, method: str) -> Iterator[None]:
    """Counts the call and turns errors into gRPC statuses."""
    try:
        with service.metrics.call("grpc", method):
            yield
    except ServingError as error:
        context.abort(error.code, error.message)
    except Exception:
        log.exception("%s failed", method)
        context.abort(Code.INTERNAL, "internal error; the server's log has the details")


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    def Predict(self, request, context):
        with _replying(self._service, context, "Predict"):
            _, signature = self._service.resolve(request.model_spec)
            inputs = {name: _to_array(name, value) for name, value in request.inputs.items()}
            chosen = list(request.output_filter) or list(signature.outputs)
            unknown = set(chosen) - set(signature.outputs)
            if unknown:
                raise invalid(f"output tensor alias not found in signature: {sorted(unknown)[0]}")

            def cancel_with_client(future):
                if not context.add_callback(future.cancel):  # already gone
                    future.cancel()

            spec, outputs = self._service.predict(
                request.model_spec, inputs, context.time_remaining(), cancel_with_client
            )
            response = predict_pb2.PredictResponse(model_spec=spec)
            for name in chosen:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

    def GetModelMetadata(self, request, context):
        with _replying(self._service, context, "GetModelMetadata"):
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid("metadata_field must be signature_def, the only one there is")
            return self._service.metadata(request.model_spec)


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    def GetModelStatus(self, request, context):
        with _replying(self._service, context, "GetModelStatus"):
            return self._service.versions.status(request.model_spec)

    def HandleReloadConfigRequest(self, request, context):
        with _replying(self._service, context, "HandleReloadConfigRequest"):
            configs = request.config.model_config_list.config
            if len(configs) != 1:
                raise invalid(f"the config lists {len(configs)} models; this server serves exactly one")
            self._service.versions.configure(configs[0])
            return model_management_pb2.ReloadConfigResponse()


def _to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """TensorProto -> array. Sizes are checked first: make_ndarray would repeat one value to any shape asked for."""
    size = math.prod(dim.size for dim in proto.tensor_shape.dim)
    strings = proto.dtype == tf.string.as_datatype_enum
    if min([0, *(dim.size for dim in proto.tensor_shape.dim)]) < 0 or proto.tensor_shape.unknown_rank:
        raise invalid(f"{name}: the shape has negative or unknown sizes")
    if strings and len(proto.string_val) != size or size > proto.ByteSize():
        raise invalid(f"{name}: the shape asks for {size} values, more or fewer than were sent")
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise invalid(f"{name}: not a valid tensor: {error}") from None
