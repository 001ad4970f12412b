"""`transferseg experiment`: the paper's Table 2 on one's own data; all rivals share the network and the budget."""
