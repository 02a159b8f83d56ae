"""What it takes to host a shim, in one import: it is heavy, and made while the program starts."""

from __future__ import annotations

from leash_shim.app import ShimApp
from leash_shim.door import OneRun
from leash_shim.server import serve
from leash_shim.settings import ShimSettings

__all__ = ["OneRun", "ShimApp", "ShimSettings", "serve"]
