"""`transferseg run` in this process, and what it leaves: summary, log, metrics, model card, history."""
