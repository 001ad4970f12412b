"""The mathematics of weak labels: an image, its maps and tags in, a mask out. No TensorFlow, no Beam."""
