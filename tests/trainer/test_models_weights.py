"""ImageNet weights: our dilated, folded networks answer as Keras' own do, from Keras' own files."""

import h5py
import numpy as np
import pytest
from tensorflow import keras

from trainer import weights as stored
from trainer.errors import UserError
from trainer.models import vgg16
from trainer.models.cam import build_cam
from trainer.models.large_fov import build_segmentation


def smooth_images(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2) * 1.0


@pytest.mark.parametrize(
    ("backbone", "application", "last"),
    [
        ("mobilenet_v2", keras.applications.MobileNetV2, "out_relu"),
        ("mobilenet", keras.applications.MobileNet, "conv_pw_13_relu"),
    ],
)
def test_mobilenets_answer_as_keras_does(backbone, application, last, tmp_path):
    """Every 4th output of the dilated network is the published, strided network's, batch norms not at rest included."""
    reference = application(include_top=False, weights=None, input_shape=(96, 96, 3))
    rng = np.random.default_rng(0)
    for layer in reference.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    path = str(tmp_path / "no_top.h5")
    reference.save_weights(path)
    images = smooth_images(96)
    expected = reference(images / 127.5 - 1, training=False).numpy()
    cam = build_cam(backbone, 20, path, 0)
    features = keras.Model(cam.input, cam.get_layer(last).output)(images, training=True).numpy()
    assert features.shape[1:3] == (12, 12)
    np.testing.assert_allclose(features[:, 3::4, 3::4], expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.1
    net = build_segmentation(backbone, 21, path, 0)  # the same file serves the segmentation network
    np.testing.assert_array_equal(net.get_weights()[0], cam.get_weights()[0])


def test_vgg_without_top_loads_its_convolutions(tmp_path):
    """RGB input with the channels of the first kernel reversed equals Keras' BGR preprocessing."""
    reference = keras.applications.VGG16(include_top=False, weights=None)
    path = str(tmp_path / "no_top.h5")
    reference.save_weights(path)
    net, random = build_segmentation("vgg16", 21, path, 0), build_segmentation("vgg16", 21, None, 0)
    images = smooth_images(32)
    layer = "block1_conv2"
    ours = keras.Model(net.input, net.get_layer(layer).output)(images)
    keras_own = keras.Model(reference.input, reference.get_layer(layer).output)(
        keras.applications.vgg16.preprocess_input(images.copy())
    )
    np.testing.assert_allclose(ours, keras_own, rtol=1e-3, atol=1e-3)
    for name in ("block3_conv2", "block5_conv3"):
        np.testing.assert_array_equal(net.get_layer(name).kernel, reference.get_layer(name).kernel)
    for name in ("fc6", "fc7", "fc8"):
        np.testing.assert_array_equal(net.get_layer(name).kernel, random.get_layer(name).kernel)


@pytest.mark.slow
def test_vgg_with_top_is_subsampled(tmp_path):
    """Random full-size VGG-16 weights in Keras' file layout; fc6 takes taps 0, 3, 6 and every 4th channel."""
    rng = np.random.default_rng(0)
    shapes = {"fc1": (7 * 7 * 512, 4096), "fc2": (4096, 4096), "predictions": (4096, 1000)}
    channels = 3
    for block, (width, count) in enumerate(vgg16.BLOCKS, start=1):
        for index in range(1, count + 1):
            shapes[f"block{block}_conv{index}"] = (3, 3, channels, width)
            channels = width
    kernels = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    biases = {name: rng.random(shape[-1], np.float32) for name, shape in shapes.items()}
    with h5py.File(tmp_path / "top.h5", "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in shapes]
        for name in shapes:
            group = file.create_group(name)
            group.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
            group["kernel:0"], group["bias:0"] = kernels[name], biases[name]
    net = build_segmentation("vgg16", 21, str(tmp_path / "top.h5"), 0)
    fc6, fc7 = net.get_layer("fc6"), net.get_layer("fc7")
    for i, j, c, o in [(0, 0, 0, 0), (1, 2, 3, 4), (2, 1, 511, 1023), (2, 2, 100, 500)]:
        assert fc6.kernel[i, j, c, o] == kernels["fc1"][(3 * i * 7 + 3 * j) * 512 + c, 4 * o]
        assert fc7.kernel[0, 0, c, o] == kernels["fc2"][4 * c, 4 * o]
    np.testing.assert_array_equal(fc6.bias, biases["fc1"][::4])
    np.testing.assert_array_equal(fc7.bias, biases["fc2"][::4])
    np.testing.assert_array_equal(net.get_layer("block1_conv1").kernel[:, :, 0], kernels["block1_conv1"][:, :, 2])
    np.testing.assert_array_equal(net.get_layer("block5_conv3").kernel, kernels["block5_conv3"])


def test_bad_weights_are_refused_in_one_line(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("no weights")
    other = str(tmp_path / "other.h5")
    keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25).save_weights(other)
    for backbone, path, message in (
        ("mobilenet", str(tmp_path / "none.h5"), "no file .*none.h5; give"),
        ("mobilenet", str(text), "text.h5 is not a Keras .h5 weights file"),
        ("mobilenet_v2", other, "no layer 'Conv1' in the weights; they belong to another backbone"),
        ("mobilenet", other, "layer 'conv1' needs shapes"),
        ("tiny", "imagenet", "backbone 'tiny' has no stored weights; set weights: null"),
    ):
        with pytest.raises(UserError, match=message) as error:
            build_cam(backbone, 3, path, 0)
        assert "\n" not in str(error.value)


def test_a_failed_download_says_so():
    def application(include_top, weights):
        raise Exception("URL fetch failure\nmore")

    with pytest.raises(UserError, match="'imagenet' could not be downloaded.*URL fetch failure$"):
        stored.download(application, include_top=False)
