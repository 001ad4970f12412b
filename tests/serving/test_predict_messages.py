"""Our own few messages say on the wire what TF Serving's do."""

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.predict_messages import predict_request, string_output


def test_a_request_is_read_as_tf_servings():
    for version in (None, 0, 7):
        request = predict_pb2.PredictRequest.FromString(
            predict_request("cats", version, "image_bytes", [b"a", b"\xff"])
        )
        assert request.model_spec.name == "cats"
        assert request.model_spec.HasField("version") == (version is not None)
        assert request.model_spec.version.value == (version or 0)
        assert list(request.inputs) == ["image_bytes"]
        expected = tf.make_tensor_proto([b"a", b"\xff"], tf.string, [2])
        assert request.inputs["image_bytes"] == expected


def test_a_label_is_read_as_tf_servings():
    request = predict_pb2.PredictRequest.FromString(predict_request("cats", "stable", "image_bytes", [b"a"]))
    assert request.model_spec.version_label == "stable" and not request.model_spec.HasField("version")


def test_the_named_output_is_found_among_others():
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "cats"
    response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[0.5, 0.5]]))
    response.outputs["mask_bytes"].CopyFrom(tf.make_tensor_proto([b"one", b""], tf.string, [2]))
    data = response.SerializeToString()
    assert string_output(data, "mask_bytes") == [b"one", b""]
    assert string_output(data, "masks") == []
