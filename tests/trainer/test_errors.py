"""What people read of an error: one line that speaks of their input."""

import pytest
import tensorflow as tf

from trainer.errors import ImageFault, one_line


@tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
def positive(value):
    tf.debugging.Assert(value > 0, ["a.jpg: 192 x 240 pixels; the limit is 20000"])
    return value


def test_of_a_graphs_error_the_line_about_the_input_is_told():
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        positive(tf.constant(-1))
    assert str(raised.value).startswith("Graph execution error:")
    assert "a.jpg: 192 x 240 pixels; the limit is 20000" in one_line(raised.value)
    assert "a.jpg" in str(ImageFault("network", raised.value))


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("first\nsecond"), "first"), (ValueError(), "ValueError"), (ValueError("\n\n"), "ValueError")],
)
def test_of_other_errors_the_first_line_or_the_class(error, line):
    assert one_line(error) == line
