"""Reads what each call cost off the wire, in a file per wire format.

The rule: everything here is sans-I/O. Bytes come in, split anywhere, and facts go out; no input makes it raise, and
what it keeps is bounded.
"""

from __future__ import annotations

from leash_shim.meter.bodies import is_event_stream
from leash_shim.meter.decoding import Decoder, decoder
from leash_shim.meter.route import Route, RouteKind, route
from leash_shim.meter.wire import Asked, Meter, Metered, Prepared, RequestFacts, VisibleFilter, WireFormat

__all__ = [
    "Asked",
    "Decoder",
    "Meter",
    "Metered",
    "Prepared",
    "RequestFacts",
    "Route",
    "RouteKind",
    "VisibleFilter",
    "WireFormat",
    "decoder",
    "is_event_stream",
    "route",
]
