"""`transferseg run` in this process: plan, log, metrics, closing words, history and clean-up."""
