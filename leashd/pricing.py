"""From price tables to the figures that the core decides with: quotes before a call, costs after it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from leash.prices import PriceTable, ceiling, cost, find, parse_table
from leash.usage import Usage
from leashd.core.account import Call, ModelHistory
from leashd.core.admission import Quote
from leashd.core.bounds import MAX_CALL_NANODOLLARS
from leashd.core.closing import Report
from leashd.ledger.protocol import Ledger
from leashd.operations import ReserveCall, SettleCall, StorePrices

TABLE_ID_BYTES = 8  # of the SHA-256; a call names its table by them
MAX_LOADED_TABLES = 64  # price tables kept parsed; a host uses a handful
MAX_KNOWN_TABLES = 1_024  # hashes of tables kept, 100 bytes each


def table_id(sha256: bytes) -> bytes:
    """The id under which the ledger keeps the table of this SHA-256; empty for none."""
    return sha256[:TABLE_ID_BYTES]


def read_prices(text: bytes) -> StorePrices:
    """A price table's text, parsed and in its stored form. Raises PriceError."""
    table = parse_table(text)
    sha256 = hashlib.sha256(text).digest()
    return StorePrices(sha256=sha256, stored=msgspec.msgpack.encode([sha256, table.to_plain()]), models=len(table))


class PriceBook:
    """The price tables of a ledger, parsed once and kept."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loaded: dict[bytes, PriceTable] = {}
        self._hashes: dict[bytes, bytes] = {}  # id -> SHA-256; a table of a ledger is there for good

    def has(self, sha256: bytes) -> bool:
        """Whether the ledger has this very table. Asked with every opening of a run, so it is decoded only once."""
        identity = table_id(sha256)
        if identity not in self._hashes:
            stored = self._ledger.price_table(identity)
            if stored is None:
                return False
            if len(self._hashes) >= MAX_KNOWN_TABLES:
                self._hashes.clear()
            self._hashes[identity] = _decode(stored)[0]
        return self._hashes[identity] == sha256

    def quote(self, call: ReserveCall, prices: bytes, history: ModelHistory) -> Quote:
        """What is known of a call's price before it is made."""
        table = self._table(prices)
        price = table.get(call.model) if table is not None else None
        most: int | None = None
        if price is not None:
            most = ceiling(
                price,
                input_bound_tokens=call.input_bound_tokens,
                output_bound_tokens=call.output_bound_tokens,
                choices=call.choices,
                service_tier=call.service_tier,
                prompts=call.prompts,
            )
            most = None if most is None else min(most, MAX_CALL_NANODOLLARS)
        return Quote(
            listed=price is not None,
            named=bool(call.model),
            free=most == 0 and not call.server_tools,
            ceiling_nanodollars=None if call.server_tools else most,
            metered_before=history.metered,
            dearest_in_ledger_nanodollars=history.dearest_nanodollars,
            unmeterable=call.unmeterable,
        )

    def report(self, settle: SettleCall, call: Call) -> Report:
        """What the wire reported of a call, priced by the table that it was reserved under."""
        table = self._table(call.prices)
        found = find(table, call.model, settle.model) if table is not None else None
        usage = settle.usage
        priced = cost(found[1], usage) if found is not None and usage is not None else None
        return Report(
            http_status=settle.http_status,
            usage=usage,
            answered_model=settle.model,
            fingerprint=settle.fingerprint,
            priced=priced is not None,
            cost_nanodollars=_bounded(priced.total_nanodollars) if priced else self._least(settle, call),
            tool_cost_nanodollars=_bounded(priced.tool_nanodollars) if priced else 0,
            unpriced_tool=priced is not None and priced.unpriced_tool,
        )

    def known_cost(self, call: Call, known: Usage | None) -> int:
        """The least that an unresolved call has cost, in nanodollars."""
        table = self._table(call.prices)
        if table is None or known is None:
            return 0
        found = find(table, call.model, "")
        return _bounded(cost(found[1], known).total_nanodollars) if found is not None else 0

    def _least(self, settle: SettleCall, call: Call) -> int:
        """What a call has cost at least whose answer came whole but could not be read."""
        blind = settle.usage is None and 200 <= settle.http_status < 300
        return self.known_cost(call, call.known) if blind else 0

    def _table(self, prices: bytes) -> PriceTable | None:
        """A table by its id; None for the empty id of a run without prices."""
        if not prices:
            return None
        loaded = self._loaded.get(prices)
        if loaded is None:
            if len(self._loaded) >= MAX_LOADED_TABLES:
                self._loaded.clear()
            stored = self._ledger.price_table(prices)
            assert stored is not None, "an account names only tables that the ledger has"
            loaded = self._loaded[prices] = PriceTable.from_plain(_decode(stored)[1])
        return loaded


def _bounded(nanodollars: int) -> int:
    return min(nanodollars, MAX_CALL_NANODOLLARS)


def _decode(stored: bytes) -> tuple[bytes, Any]:
    sha256, plain = msgspec.msgpack.decode(stored)
    return sha256, plain
