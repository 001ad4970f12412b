"""What 10 thousand, 1 million and 100 million images would take, worked out from a measured run: docs/scale.md."""
