"""The daemon: the one process that opens the ledger, and the one that decides."""

from importlib.metadata import version

__version__ = version("leash-governor")
