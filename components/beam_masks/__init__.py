"""Batch jobs over images: read, run SavedModels in Beam, write a mask of each; every fault is a dead letter."""
