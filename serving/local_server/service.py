"""What a prediction call does, whatever transport it came by."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from serving.local_server.batching import Batcher
from serving.local_server.metrics import Metrics
from serving.local_server.models import DEFAULT_SIGNATURE, Servable, VersionManager
from serving.local_server.status import Code, ServingError, from_tensorflow, invalid


@dataclass(frozen=True)
class Service:
    """Versions, batching and metrics together; gRPC and REST are thin faces of it."""

    versions: VersionManager
    batcher: Batcher
    metrics: Metrics
    timeout_seconds: float  # a call without its own deadline

    def resolve(self, spec: model_pb2.ModelSpec) -> tuple[Servable, meta_graph_pb2.SignatureDef]:
        """The servable and signature a request means.

        Raises:
          ServingError: NOT_FOUND (model, version), INVALID_ARGUMENT (a label), FAILED_PRECONDITION (signature).
        """
        servable = self.versions.find(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name not in servable.signatures or not servable.signatures[name].outputs or name.startswith("__"):
            raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        return servable, servable.signatures[name]

    def predict(
        self,
        spec: model_pb2.ModelSpec,
        inputs: dict[str, np.ndarray],
        timeout: float | None = None,
        on_submit: Callable[[Future], None] = lambda future: None,
    ) -> tuple[model_pb2.ModelSpec, dict[str, np.ndarray]]:
        """Runs a signature.

        Args:
          spec: model, version, signature.
          inputs: arrays by input name; strings are object arrays of bytes.
          timeout: seconds until the caller gives up.
          on_submit: gets the waiting call, so that a transport can cancel it when its client goes away.

        Returns:
          (the spec that answered, outputs by name).

        Raises:
          ServingError: the request is wrong or the model refused it.
        """
        servable, signature = self.resolve(spec)
        signature_name = spec.signature_name or DEFAULT_SIGNATURE
        _check_inputs(signature, inputs)
        answered = model_pb2.ModelSpec(name=spec.name, signature_name=signature_name)
        answered.version.value = servable.version
        if len(inputs) == 1 and next(iter(inputs.values())).dtype == object:
            name, values = next(iter(inputs.items()))
            future = self.batcher.submit(servable, signature_name, name, values)
            on_submit(future)
            return answered, _wait(future, min(timeout or self.timeout_seconds, self.timeout_seconds))
        try:
            return answered, servable.run(signature_name, inputs)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None

    def metadata(self, spec: model_pb2.ModelSpec) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Every signature's inputs and outputs."""
        servable = self.versions.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = servable.version
        response.metadata["signature_def"].Pack(signatures)
        return response


def _check_inputs(signature: meta_graph_pb2.SignatureDef, inputs: dict[str, np.ndarray]) -> None:
    expected, sent = set(signature.inputs), set(inputs)
    if expected != sent:
        raise invalid(
            f"input size does not match signature: sent extra: {{{','.join(sorted(sent - expected))}}}, "
            f"missing but required: {{{','.join(sorted(expected - sent))}}}"
        )
    for name, info in signature.inputs.items():
        dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
        value = inputs[name]
        if tf.as_dtype(value.dtype) != dtype:
            raise invalid(f"{name}: expected {dtype.name}, got {tf.as_dtype(value.dtype).name}")
        if not shape.is_compatible_with(value.shape):
            raise invalid(f"{name}: expected shape {shape}, got {list(value.shape)}")


def _wait(future: Future, timeout: float) -> dict[str, np.ndarray]:
    try:
        return future.result(timeout)
    except FutureTimeout:
        future.cancel()
        raise ServingError(Code.DEADLINE_EXCEEDED, f"no answer within {timeout:.1f} s") from None
    except CancelledError:
        raise ServingError(Code.CANCELLED, "the client cancelled the call") from None
