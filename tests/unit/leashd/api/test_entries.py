"""A journal's entries on the wire."""

from __future__ import annotations

import pytest

from leash.usage import Usage
from leashd.api.entries import entry_message, stored_entry_message
from leashd.ledger.protocol import StoredEntry
from tests.unit.leashd.play import running


def test_an_entry_names_its_kind_its_place_and_its_figures() -> None:
    play = running()
    call = play.admitted()
    play.settle(call, 7, usage=Usage(input_tokens=3))
    message = stored_entry_message(StoredEntry(play.journal[-1], head=bytes(8)))

    assert (message.seq, message.at_unix_ns, message.kind, message.call_id) == (3, play.now_ns, "settled", call)
    assert (message.model, message.cost_nanodollars, message.http_status, message.usage.input_tokens) == (
        "m",
        7,
        200,
        3,
    )
    assert (message.amends, message.released, message.hash) == (False, False, "00" * 8)


@pytest.mark.parametrize(("said", "released"), [(None, True), (0, False), (5, False)])
def test_a_release_is_told_from_a_resolve_at_no_cost(said: int | None, released: bool) -> None:
    play = running()
    call = play.admitted()
    play.abandon(call)
    play.resolve(call, said)
    message = entry_message(play.journal[-1])

    assert (message.kind, message.released, message.cost_nanodollars) == ("resolved", released, said or 0)
