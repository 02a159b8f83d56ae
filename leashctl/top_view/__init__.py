"""The full-screen view of ``leashctl top``."""
