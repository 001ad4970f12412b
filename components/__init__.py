import trainer  # noqa: F401  first of all: it says how TensorFlow runs
