"""Warm-up requests inside a SavedModel: TF Serving replays them before a version takes traffic."""

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

PATH = Path("assets.extra") / "tf_serving_warmup_requests"  # TF Serving's own name for it


def write_warmup(directory: Path, model_name: str, requests: list[tuple[str, str, list[bytes]]]) -> None:
    """Writes a TFRecord of PredictionLog.

    Args:
      directory: the SavedModel.
      model_name: the name it will be served under.
      requests: (signature, input name, one batch of values) in the order of replay.
    """
    path = directory / PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name, values in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string, [len(values)]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def read_warmup(directory: Path) -> list[predict_pb2.PredictRequest]:
    """The requests of a SavedModel in order; none if it has no warm-up file."""
    path = Path(directory) / PATH
    if not path.exists():
        return []
    return [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        for record in tf.data.TFRecordDataset(str(path))
    ]
