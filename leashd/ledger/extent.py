"""Whether a ledger's file has every page that its newest commit uses. One that was cut short would kill who reads it.

LMDB reads through a mapping of the file, and a page behind the file's end is a SIGBUS. The rule is plain, but for one
exception: pages at the end that a commit took and gave back at once are never written. Those are in LMDB's list of free
pages, which is read here without the mapping. Its layout is that of LMDB 0.9 (``mdb.c``) on a 64-bit machine.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from leashd.ledger.protocol import LedgerDamagedError

_HEADER_BYTES = 16
_FLAGS = struct.Struct("<10xH")  # of a page's header, after its number
_LOWER = struct.Struct("<12xH")  # where the offsets of its nodes end
_OFFSET = struct.Struct("<H")
_NODE = struct.Struct("<HHHH")  # the size of the data in two halves, flags, the size of the key
_NUMBER = struct.Struct("<Q")
_META = struct.Struct("<IIQQ 40xQ 48x QQ")  # magic, version, …, root of the free list, …, last page, transaction
_MAGIC = 0xBEEFC0DE
_BRANCH, _LEAF = 1, 2
_BIG_DATA = 1
_NO_PAGE = 2**64 - 1
_MAX_DEPTH = 32  # LMDB's own bound; a tree that is deeper goes in a circle


def check_extent(path: Path, *, page_bytes: int, pages: int) -> None:
    """Raises LedgerDamagedError where the file lacks pages that are in use."""
    size = path.stat().st_size
    if size >= pages * page_bytes:
        return
    try:
        with path.open("rb") as file:
            free = set(_Pages(file.fileno(), page_bytes, size // page_bytes).free())
    except (struct.error, ValueError) as error:
        raise LedgerDamagedError("it was cut short, and its list of free pages is damaged") from error
    present = -(-size // page_bytes)
    whole = size // page_bytes
    lacking = [page for page in range(whole, pages) if page not in free]
    if lacking:
        raise LedgerDamagedError(
            f"it was cut short: it has {size} bytes ({present} pages), and {len(lacking)} of the pages that it uses, "
            f"up to page {lacking[-1]}, are behind its end"
        )


class _Pages:
    """The pages of a file, read one by one."""

    def __init__(self, descriptor: int, page_bytes: int, count: int) -> None:
        self._descriptor = descriptor
        self._page_bytes = page_bytes
        self._count = count

    def free(self) -> Iterator[int]:
        """The free pages as of the newest commit."""
        metas = [_META.unpack_from(self._read(page), _HEADER_BYTES) for page in (0, 1)]
        newest = max((meta for meta in metas if meta[0] == _MAGIC), key=lambda meta: meta[-1])
        root: int = newest[4]
        if root != _NO_PAGE:
            yield from self._free_below(root, depth=0)

    def _free_below(self, number: int, *, depth: int) -> Iterator[int]:
        page = self._read(number)
        flags: int = _FLAGS.unpack_from(page)[0]
        if depth > _MAX_DEPTH or not flags & (_BRANCH | _LEAF):
            raise LedgerDamagedError(f"its list of free pages is damaged at page {number}")
        nodes = range(_HEADER_BYTES, min(_LOWER.unpack_from(page)[0], self._page_bytes), _OFFSET.size)
        for position in (_OFFSET.unpack_from(page, place)[0] for place in nodes):
            low, high, node_flags, key_bytes = _NODE.unpack_from(page, position)
            if flags & _BRANCH:
                yield from self._free_below(low | high << 16 | node_flags << 32, depth=depth + 1)
                continue
            data = page[position + _NODE.size + key_bytes :]
            if node_flags & _BIG_DATA:
                pages = -(-(_HEADER_BYTES + (low | high << 16)) // self._page_bytes)
                data = self._read(_NUMBER.unpack_from(data)[0], pages)[_HEADER_BYTES:]
            (count,) = _NUMBER.unpack_from(data)
            yield from struct.unpack_from(f"<{min(count, len(data) // 8 - 1)}Q", data, _NUMBER.size)

    def _read(self, number: int, pages: int = 1) -> bytes:
        if number + pages > self._count:
            raise LedgerDamagedError(f"it was cut short: page {number} is behind its end")
        return os.pread(self._descriptor, pages * self._page_bytes, number * self._page_bytes)
