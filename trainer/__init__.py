"""Networks, losses, data and training loops."""

import os

# TensorFlow turns oneDNN on by itself on the newest CPUs alone. With AVX2 and no AVX-512, an update of MobileNetV2
# (8 images of 225 pixels) takes 1.5 instead of 2.2 s with it, one of VGG-16 (1 image) 1.7 instead of 4.0. TensorFlow
# reads it when it is imported, so every room imports this one first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlow takes all of a GPU's memory at its first use. A run's serving check, Beam's workers and a second command
# are processes beside it that would find none.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
