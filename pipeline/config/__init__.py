"""The config of a run: its classes, its reference."""
