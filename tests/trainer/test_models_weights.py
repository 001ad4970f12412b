"""ImageNet weights: our dilated, folded networks answer as Keras' own do, from Keras' own files."""

import math

import h5py
import numpy as np
import pytest
from backbone_contract import five_updates, of_segmentation
from keras.src.utils import data_utils
from tensorflow import keras

from trainer.errors import UserError
from trainer.models import vgg16
from trainer.models.cam import build_cam
from trainer.models.initial_values import made_up_images
from trainer.models.large_fov import build_segmentation
from trainer.models.weight_files import FILES, check_weights
from trainer.models.weights import read_h5

pytestmark = pytest.mark.slow  # whole networks


def smooth_images(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2) * 1.0


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
    for name in ("fc6", "fc7", "fc8"):  # random ones, but for their scale
        kernel, other = net.get_layer(name).kernel.numpy(), random.get_layer(name).kernel.numpy()
        np.testing.assert_array_equal(kernel / np.abs(kernel).max(), other / np.abs(other).max())


def test_vgg_without_top_learns_at_the_papers_rates_from_features_as_large_as_imagenets(tmp_path):
    """fc6 and fc7 on what conv5_3 of ImageNet's network answers photographs with: root mean square 13, large maxima."""
    net = build_segmentation("vgg16", 21, None, 0)
    conv5_3 = keras.Model(net.input, net.get_layer("block5_conv3").output)
    kernel, bias = net.get_layer("block5_conv3").get_weights()
    factor = 13 / np.sqrt(np.mean(conv5_3(made_up_images()) ** 2))
    net.get_layer("block5_conv3").set_weights([factor * kernel, bias])
    net.save_weights(tmp_path / "net.h5")
    arrays = {name: value for name, value in read_h5(tmp_path / "net.h5").items() if not name.startswith("fc")}
    with h5py.File(tmp_path / "net.h5", "a") as file:
        file.attrs["layer_names"] = list(arrays)
    losses = five_updates(build_segmentation("vgg16", 21, str(tmp_path / "net.h5"), 0), of_segmentation)
    assert losses[0] == pytest.approx(math.log(21), rel=0.1) and max(losses) < 1.2 * math.log(21), losses


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
        (
            "mobilenet_v2",
            other,
            "is of mobilenet, and network.backbone is mobilenet_v2; set network.backbone: mobilenet,",
        ),
        ("mobilenet", other, "layer 'conv1' needs shapes"),
        ("tiny", "imagenet", "backbone 'tiny' has no stored weights; set network.weights: null"),
    ):
        with pytest.raises(UserError, match=message) as error:
            build_cam(backbone, 3, path, 0)
        assert "\n" not in str(error.value)


@pytest.fixture
def downloads(monkeypatch):
    """The calls of Keras' download, which finds no network."""
    calls = []

    def get_file(name, origin, cache_subdir, file_hash=None):
        calls.append((name, origin, file_hash))
        raise Exception(f"URL fetch failure on {origin}: None -- no network\nmore")

    monkeypatch.setattr(data_utils, "get_file", get_file)
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    return calls


@pytest.mark.parametrize("backbone", FILES)
def test_a_failed_download_names_the_file_that_keras_asked_for(backbone, downloads, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    with pytest.raises(UserError) as error:
        build_segmentation(backbone, 3, "imagenet", 0)
    [(name, origin, md5)] = downloads
    file = FILES[backbone]
    assert (name, md5) == (file.name, file.md5) and origin.endswith("/" + name)
    message = str(error.value)
    assert "'imagenet' could not be downloaded" in message and message.endswith("no network")
    for fact in (file.name, f"{file.size} bytes", file.md5, "/home/somebody/.keras/models", "set network.weights"):
        assert str(fact or "") in message or fact == "None bytes"
    assert "\n" not in message


def test_a_missing_path_names_what_it_should_be():
    with pytest.raises(UserError) as error:
        check_weights("resnet50", "nowhere.h5")
    assert str(error.value) == (
        "weights: no file nowhere.h5; give the path of a Keras .h5 of resnet50, as "
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 (94765736 bytes, MD5 4d473c1dd8becc155b73f8504c6f6626); "
        "or imagenet, which downloads it; or null"
    )
