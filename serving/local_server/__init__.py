"""A small server for laptops and tests that speaks TF Serving's gRPC and REST interfaces."""
