"""The gRPC contract, version 1. The stubs are generated when the package is built."""
