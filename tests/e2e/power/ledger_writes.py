"""The ledger's file as its system calls made it: what was written where, and from when on that outlives the power."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.power.trace import Call, TraceError

META_BYTES = 8192  # the two pages of which the newer one says which commit counts; LMDB writes one of them last
_WRITES = ("pwrite64", "pwritev", "writev", "write")
_SYNCS = ("fdatasync", "fsync")
_SYNCED_OPENS = ("O_DSYNC", "O_SYNC")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that were written at an offset. ``synced`` where the descriptor itself makes each write durable."""

    offset: int
    data: bytes
    entered: int
    returned: int
    synced: bool

    @property
    def is_meta(self) -> bool:
        """Whether it is the last write of a commit, and no page of it (nor the making of the file)."""
        return self.offset < META_BYTES and len(self.data) < META_BYTES


@dataclass(frozen=True, slots=True)
class Sync:
    """A successful sync: what had returned before it was entered is durable once it has returned."""

    entered: int
    returned: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The pages of one transaction, and the write that makes them count."""

    pages: tuple[Write, ...]
    meta: Write


def new_path(path: str) -> str:
    """The name under which the file is made, before it gets its own."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.new"


class LedgerWrites:
    """Every write and sync of one file in a trace, those before it got its name among them."""

    def __init__(self, calls: list[Call], path: str) -> None:
        self.writes: list[Write] = []
        self.syncs: list[Sync] = []
        self._paths = {path.encode(), new_path(path).encode()}
        self._synced: dict[int, bool] = {}  # the descriptors of the file, and whether each write by them is synced
        self._positions: dict[int, int] = {}
        for call in calls:
            self._take(call)
        if not self.writes:
            raise TraceError(f"nothing was written to {path}")

    def commits(self) -> list[Commit]:
        """The transactions in their order."""
        commits: list[Commit] = []
        pages: list[Write] = []
        for write in self.writes:
            if write.is_meta:
                commits.append(Commit(tuple(pages), write))
                pages = []
            else:
                pages.append(write)
        return commits

    def durable_at(self, write: Write) -> int | None:
        """The line from which on a write outlives the power; None where nothing says that it does."""
        if write.synced:
            return write.returned
        return min((sync.returned for sync in self.syncs if sync.entered > write.returned), default=None)

    def _take(self, call: Call) -> None:
        if call.result < 0 or call.name == "rename":
            return
        if call.name == "openat":
            if self._paths.intersection(call.strings):
                self._synced[call.result] = any(flag in call.arguments for flag in _SYNCED_OPENS)
            return
        descriptor = call.descriptor
        if descriptor not in self._synced:
            return
        if call.name == "close":
            del self._synced[descriptor]
        elif call.name == "lseek":
            self._positions[descriptor] = call.result
        elif call.name in _SYNCS:
            self.syncs.append(Sync(call.entered, call.returned))
        elif call.name in _WRITES:
            offset = call.last_number if call.name.startswith("pwrite") else self._advance(descriptor, call.result)
            written = Write(offset, call.data, call.entered, call.returned, self._synced[descriptor])
            if len(written.data) != call.result:
                raise TraceError(f"line {call.returned} has {len(written.data)} bytes of {call.result}")
            self.writes.append(written)

    def _advance(self, descriptor: int, size: int) -> int:
        position = self._positions[descriptor]
        self._positions[descriptor] = position + size
        return position
