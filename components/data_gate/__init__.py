"""DataGate: stops a run on anomalies that ExampleValidator found and on empty splits."""
