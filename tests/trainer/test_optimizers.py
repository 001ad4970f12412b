"""The layerwise SGD against plain numpy, its schedules, and that a resumed run is the same run to the last bit."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from trainer.config import StageConfig
from trainer.training.optimizers import Schedule, make_optimizer, variable_kind

STAGE = StageConfig(learning_rate=0.1, head_multiplier=10, weight_decay=0.05, schedule="step")


def small_model() -> keras.Model:
    """One of each kind of variable: kernel, bias, norm scale and offset, head kernel and bias."""
    inputs = keras.Input([6])
    x = keras.layers.Dense(4, name="body", bias_initializer="ones")(inputs)
    x = keras.layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc8", bias_initializer="ones")(x))


def fake_gradients(model: keras.Model, step: int) -> list[np.ndarray]:
    rng = np.random.default_rng(step)
    return [rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables]


def apply(optimizer, model, gradients):
    optimizer.apply_gradients(zip(map(tf.constant, gradients), model.trainable_variables, strict=True))


def test_equals_numpy_for_every_kind_of_variable():
    model, steps = small_model(), 9
    optimizer = make_optimizer(model, STAGE, steps)
    table = {  # name -> (learning-rate multiplier, decays)
        "body/kernel:0": (1, True),
        "body/bias:0": (2, False),
        "norm/gamma:0": (1, False),
        "norm/beta:0": (1, False),
        "fc8/kernel:0": (10, True),
        "fc8/bias:0": (20, False),
    }
    assert [v.name for v in model.trainable_variables] == list(table)
    values = {v.name: v.numpy().astype(np.float64) for v in model.trainable_variables}
    velocity = {name: np.zeros_like(value) for name, value in values.items()}
    for step in range(steps):
        gradients = fake_gradients(model, step)
        apply(optimizer, model, gradients)
        rate = 0.1 * 0.1 ** (step // 3)
        for (name, (multiplier, decays)), gradient in zip(table.items(), gradients, strict=True):
            gradient = gradient + (0.05 * values[name] if decays else 0)
            velocity[name] = 0.9 * velocity[name] - rate * multiplier * gradient
            values[name] = values[name] + velocity[name]
    assert optimizer.iterations == steps
    for variable in model.trainable_variables:
        np.testing.assert_allclose(variable, values[variable.name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("step", [1e-3] * 2000 + [1e-4] * 2000 + [1e-5] * 2000),
        ("poly", 1e-3 * (1 - np.arange(6000) / 6000) ** 0.9),
        ("constant", [1e-3] * 6000),
    ],
)
def test_schedules(kind, expected):
    schedule = Schedule(1e-3, kind, 6000)
    steps = [0, 1, 1999, 2000, 2001, 3999, 4000, 5999]
    np.testing.assert_allclose([schedule(tf.constant(s)) for s in steps], np.array(expected)[steps], rtol=1e-4)


def test_learning_rate_is_readable_for_logs():
    model = small_model()
    optimizer = make_optimizer(model, STAGE, 3)
    for step, rate in enumerate([0.1, 0.01, 0.001]):
        apply(optimizer, model, fake_gradients(model, step))
        np.testing.assert_allclose(optimizer.learning_rate, rate, rtol=1e-5)


def test_kinds_of_the_variables_of_a_network():
    assert variable_kind("block1_conv1/kernel:0", 10) == (1, True)
    assert variable_kind("conv_dw_1/depthwise_kernel:0", 10) == (1, True)
    assert variable_kind("block1_conv1/bias:0", 10) == (2, False)
    assert variable_kind("fc8/kernel:0", 10) == (10, True)
    assert variable_kind("fc8/bias:0", 10) == (20, False)


def test_clipping_bounds_the_global_norm():
    model = small_model()
    stage = StageConfig(learning_rate=1.0, momentum=0, weight_decay=0, head_multiplier=0.5, clip_norm=0.1)
    before = [v.numpy() for v in model.trainable_variables]
    apply(make_optimizer(model, stage, 3), model, [100 * g for g in fake_gradients(model, 0)])
    kernels = [v.numpy() - b for v, b in zip(model.trainable_variables, before, strict=True) if v.shape.rank == 2]
    gradients = fake_gradients(model, 0)
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    np.testing.assert_allclose(kernels[0], -0.1 * gradients[0] / norm, atol=1e-5)


def test_a_foreign_variable_is_refused():
    optimizer = make_optimizer(small_model(), STAGE, 3)
    with pytest.raises(KeyError, match="cannot recognize variable"):
        optimizer.apply_gradients([(tf.ones([2]), tf.Variable([1.0, 2.0], name="other/kernel"))])


def run(model, optimizer, steps):
    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )

    for index in steps:
        rng = np.random.default_rng(index)
        step(tf.constant(rng.normal(size=(8, 6)), tf.float32), tf.constant(rng.normal(size=(8, 2)), tf.float32))


def test_resuming_from_a_checkpoint_is_bit_identical(tmp_path):
    keras.utils.set_random_seed(0)
    model = small_model()
    optimizer = make_optimizer(model, STAGE, 10)
    run(model, optimizer, range(5))
    path = tf.train.Checkpoint(model=model, optimizer=optimizer).save(tmp_path / "checkpoint")
    run(model, optimizer, range(5, 10))

    resumed = small_model()
    again = make_optimizer(resumed, STAGE, 10)
    tf.train.Checkpoint(model=resumed, optimizer=again).restore(path).assert_consumed()
    run(resumed, again, range(5, 10))
    assert again.iterations == 10
    for a, b in zip(optimizer.variables + model.variables, again.variables + resumed.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_loss_scaling_leaves_the_update_unchanged():
    keras.utils.set_random_seed(0)
    plain, scaled = small_model(), small_model()
    scaled.set_weights(plain.get_weights())
    optimizer = make_optimizer(plain, STAGE, 3)
    wrapper = keras.mixed_precision.LossScaleOptimizer(make_optimizer(scaled, STAGE, 3))
    for step in range(3):
        gradients = fake_gradients(plain, step)
        apply(optimizer, plain, gradients)
        factor = wrapper.get_scaled_loss(tf.constant(1.0))
        apply(wrapper, scaled, wrapper.get_unscaled_gradients([factor * g for g in gradients]))
    for a, b in zip(plain.variables, scaled.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_why_not_tensorflow_addons_multi_optimizer(tmp_path):
    """It forgets its momentum in a checkpoint: a resumed run is another run. When this fails, it may be used again."""
    import tensorflow_addons as tfa

    def build():
        keras.utils.set_random_seed(0)
        model = small_model()
        body, head = keras.optimizers.SGD(0.1, 0.9), keras.optimizers.SGD(1.0, 0.9)
        optimizer = tfa.optimizers.MultiOptimizer([(body, model.layers[:-1]), (head, model.layers[-1])])
        return model, optimizer, tf.train.Checkpoint(model=model, optimizer=optimizer)

    def step(model, optimizer, index):
        optimizer.apply_gradients(
            zip(map(tf.constant, fake_gradients(model, index)), model.trainable_variables, strict=False)
        )

    model, optimizer, checkpoint = build()
    for index in range(3):
        step(model, optimizer, index)
    path = checkpoint.save(str(tmp_path / "ckpt"))
    resumed_model, resumed_optimizer, resumed = build()
    step(resumed_model, resumed_optimizer, 0)  # creates its slots, then everything is restored
    resumed.restore(path)
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(model.variables, resumed_model.variables, strict=True))
    for model_, optimizer_ in ((model, optimizer), (resumed_model, resumed_optimizer)):
        step(model_, optimizer_, 3)
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(model.variables, resumed_model.variables, strict=True))
