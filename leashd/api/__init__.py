"""The gRPC services: each converts, asks the committer, and converts back."""
