"""Delivery of notices: what is in the outbox goes out by webhook and by hook, off the path of every call."""
