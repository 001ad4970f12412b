"""The graph run in this process or by single components, over one metadata store."""
