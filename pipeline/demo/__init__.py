"""`transferseg demo`: drawn data, and a run on them."""
