"""The methods the paper compares with, sharing its segmentation network and training loop."""
