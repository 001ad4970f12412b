"""Batch prediction: a folder of images through an exported segmentation model."""
