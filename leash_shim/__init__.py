"""The shim: an HTTP proxy in front of one agent's model calls, which reserves, forwards, meters and settles each.

It keeps no state of its own: every decision is the daemon's. This module imports nothing, so that the command line
may use ``leash_shim.mounts`` without paying for the server.
"""
