"""How much of all requests' bodies one process holds at a time: the bound on what slow agents can make it keep."""

from __future__ import annotations

# Most requests are smaller. Those find room when a few large ones, sent slowly, have taken all that large ones may:
# that eighth of the whole is for them alone.
_SMALL_BYTES = 1 << 20
_KEPT_FOR_SMALL = 8


class BodiesFull(Exception):  # noqa: N818 - an outcome that is told to the agent
    """As much is held of requests as may be."""


class HeldBodies:
    """The sum of what is held. ``most_bytes`` of zero is no bound."""

    __slots__ = ("_held_bytes", "_most_bytes")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        return self._held_bytes

    def share(self) -> HeldBody:
        """The part of one request; nothing at first."""
        return HeldBody(self)

    def take(self, size: int, *, of_bytes: int) -> None:
        """Holds more of a body of which there are then ``of_bytes``. BodiesFull where that would be too much."""
        most = self._most_bytes
        if of_bytes > _SMALL_BYTES:
            most -= most // _KEPT_FOR_SMALL
        if most and self._held_bytes + size > most:
            raise BodiesFull
        self._held_bytes += size

    def give_back(self, size: int) -> None:
        """Holds less."""
        self._held_bytes -= size


class HeldBody:
    """What is held of one request."""

    __slots__ = ("_all", "_bytes")

    def __init__(self, held: HeldBodies) -> None:
        self._all = held
        self._bytes = 0

    def take(self, size: int) -> None:
        """Holds more. BodiesFull where that would be too much."""
        self._all.take(size, of_bytes=self._bytes + size)
        self._bytes += size

    def release(self) -> None:
        """Nothing is held any more; again changes nothing."""
        self._all.give_back(self._bytes)
        self._bytes = 0
