"""Python functions as TensorFlow's graphs.

None of ours branches or loops over tensors in Python's own words, so AutoGraph would read, rewrite and compile their
sources for nothing: 5 of the 11.5 s that a process's first export took.
"""

from functools import partial

import tensorflow as tf

graph_function = partial(tf.function, autograph=False)
unconverted = tf.autograph.experimental.do_not_convert  # what a tf.data.Dataset maps
