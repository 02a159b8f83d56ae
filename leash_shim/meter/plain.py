"""What most formats have in common: leash adds nothing to their requests, and takes nothing out of their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash_shim.meter.wire import Prepared

if TYPE_CHECKING:
    from leash_shim.meter.wire import VisibleFilter


class PlainFormat:
    """A format whose usage is on the wire unasked."""

    tells_failure = False

    def prepare(self, body: bytes, *, inject: bool) -> Prepared:
        """The body as it is."""
        del inject
        return Prepared(body, False)

    def visible_filter(self) -> VisibleFilter | None:
        """None: nothing was asked for that the client did not ask for."""
        return None
