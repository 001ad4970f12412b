"""One network a file, and the weights they begin with."""
