"""WeakLabelGate: refuses a collapsed or stale label set before training, and counts what the report shows."""
