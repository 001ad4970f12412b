"""`transferseg init`: from a folder of any known kind to a config that runs."""
