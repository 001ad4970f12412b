"""DeepLab's solver: momentum SGD with a learning rate for each kind of variable (method section 2).

tensorflow-addons' MultiOptimizer is made for such rates, but it loses the momentum in checkpoints, finds variables by
name (a variable it does not find is never trained) and clips each group by itself. One subclass of Keras' SGD with a
multiplier per variable is shorter than the wrapper that would mend all that.
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf
from tensorflow import keras

from trainer.config import StageConfig
from trainer.models.weights import HEAD

BIAS_MULTIPLIER = 2.0  # DeepLab-LargeFOV's solver
POLY_POWER = 0.9  # DeepLab's poly policy


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate at step t of T: "step" base / 10^floor(3t / T), "poly" base (1 - t / T)^0.9, "constant" base."""

    def __init__(self, base: float, kind: Literal["step", "poly", "constant"], num_steps: int):
        self.base, self.kind, self.num_steps = base, kind, num_steps

    def __call__(self, step):
        step = tf.cast(step, tf.int64)
        if self.kind == "step":
            factor = 0.1 ** tf.cast(3 * step // self.num_steps, tf.float32)
        elif self.kind == "poly":
            left = 1.0 - tf.cast(step, tf.float32) / self.num_steps
            factor = tf.maximum(left, 0.0) ** POLY_POWER
        else:
            factor = 1.0
        return tf.convert_to_tensor(self.base * factor, tf.float32)


class LayerwiseSGD(keras.optimizers.SGD):
    """v <- momentum v - rate (gradient + decay w); w <- w + v, as Caffe does it.

    The rate is the learning rate times the variable's multiplier: kernels 1, biases 2, both times `head_multiplier` in
    the last layer (named "fc8"). Only kernels decay; because the decay is part of the gradient it is multiplied too.
    Norm scales and offsets have multiplier 1 and no decay. Everything else is Keras': checkpoints of momentum and
    step, distribution (gradients are summed over replicas), loss scaling, clipping by global norm after that sum.
    """

    def __init__(
        self,
        learning_rate: float | Schedule,
        momentum: float = 0.9,
        decay: float = 5e-4,
        head_multiplier: float = 10.0,
        global_clipnorm: float | None = None,
    ):
        super().__init__(learning_rate, momentum, global_clipnorm=global_clipnorm, jit_compile=False)
        self.decay, self.head_multiplier = decay, head_multiplier

    def build(self, var_list):
        super().build(var_list)
        self._kinds = [variable_kind(variable.name, self.head_multiplier) for variable in var_list]

    def update_step(self, gradient, variable):
        index = self._index_dict[self._var_key(variable)]
        multiplier, decays = self._kinds[index]
        velocity = self.momentums[index]
        if decays:
            gradient += self.decay * variable
        velocity.assign(self.momentum * velocity - self.learning_rate * multiplier * gradient)
        variable.assign_add(velocity)


def variable_kind(name: str, head_multiplier: float) -> tuple[float, bool]:
    """(learning-rate multiplier, whether it decays) of a variable by its name, e.g. "fc8/bias:0" -> (20, False)."""
    layer, kind = name.split(":")[0].split("/")[-2:]
    multiplier = BIAS_MULTIPLIER if kind == "bias" else 1.0
    return multiplier * (head_multiplier if layer == HEAD else 1.0), kind.endswith("kernel")


def make_optimizer(model: keras.Model, stage: StageConfig, num_steps: int) -> keras.optimizers.Optimizer:
    """The optimiser of a training stage.

    Args:
      model: built; the state for all its trainable variables exists at once, so a checkpoint restores into it.
      stage: which optimiser, rates, schedule, momentum, decay, clipping. Adam takes neither momentum nor decay nor
        multipliers from it.
      num_steps: T, updates in the whole stage.

    Returns:
      To be used with `scaled_gradients` and `apply_gradients`; `.learning_rate` is that of the last update. Under
      float16 it scales the loss, dynamically.
    """
    schedule = Schedule(stage.learning_rate, stage.schedule, num_steps)
    if stage.optimizer == "adam":
        optimizer = keras.optimizers.Adam(schedule, global_clipnorm=stage.clip_norm, jit_compile=False)
    else:
        optimizer = LayerwiseSGD(schedule, stage.momentum, stage.weight_decay, stage.head_multiplier, stage.clip_norm)
    optimizer.build(model.trainable_variables)
    if keras.mixed_precision.global_policy().compute_dtype == "float16":
        return keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def scaled_gradients(optimizer: keras.optimizers.Optimizer, tape: tf.GradientTape, loss: tf.Tensor, variables: list):
    """Gradients of `loss`, recorded by `tape`; under float16 times the loss scale, so that small ones survive."""
    seed = tf.ones_like(loss)
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        seed = optimizer.get_scaled_loss(seed)
    return tape.gradient(loss, variables, output_gradients=seed)


def apply_gradients(optimizer: keras.optimizers.Optimizer, gradients: list[tf.Tensor], variables: list) -> tf.Tensor:
    """Updates `variables` by gradients from `scaled_gradients`, summed over all replicas; clips by `stage.clip_norm`.

    Returns:
      Their global norm before clipping, float32. Under float16 a step whose gradients overflow is left out (the loss
      scale falls instead); its norm is given as 0.
    """
    scaled = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
    if scaled:
        gradients = optimizer.get_unscaled_gradients(gradients)
    norm = tf.linalg.global_norm(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=True)
    return tf.where(tf.math.is_finite(norm), norm, 0.0) if scaled else norm
