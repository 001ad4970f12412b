"""Batch jobs over images: read, run SavedModels in Beam, write one mask an image; every fault is a dead letter."""
