"""The stages, the two loops, and what every loop needs around its steps."""
