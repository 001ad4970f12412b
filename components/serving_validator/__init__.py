"""Loads an exported model as TF Serving would, asks it everything, and lets it through or not."""
