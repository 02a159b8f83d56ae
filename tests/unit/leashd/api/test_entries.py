"""A journal's entries on the wire."""

from __future__ import annotations

from typing import get_args

import pytest

from leash.usage import Usage
from leash.v1 import types_pb2
from leashd.api.entries import _FORMS, entry_message, stored_entry_message
from leashd.core import events
from leashd.core.events import Entry
from leashd.core.reasons import Reason
from leashd.ledger.protocol import StoredEntry
from tests.unit.leashd.play import running

TOLD = (
    *("opened", "closed", "reserved", "settled", "voided", "abandoned", "resolved"),
    *("stopped", "warned", "would_stop", "raised", "checkpoint"),
)


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


def test_an_auditor_learns_what_each_entry_did_to_what_was_held() -> None:
    play = running()
    call = play.admitted()
    play.abandon(call, Usage(input_tokens=2))
    play.settle(call, 7, usage=Usage(input_tokens=3))
    opened, reserved, abandoned, settled = (entry_message(entry) for entry in play.journal)

    assert (opened.session, opened.new_episode, opened.HasField("declared")) == (reserved.session, True, True)
    assert opened.HasField("actor_uid")
    assert reserved.basis
    assert (abandoned.released_nanodollars, abandoned.unresolved) == (reserved.held_nanodollars, False)
    assert abandoned.usage.input_tokens == 2
    assert (settled.released_nanodollars, settled.unresolved) == (abandoned.held_nanodollars, True)
    assert (settled.reserved_seq, settled.HasField("amended_nanodollars")) == (2, False)


def test_a_stop_says_what_was_used_of_which_limit() -> None:
    stopped = entry_message(Entry(3, 5, events.Stopped(reason=Reason.COST_BUDGET, used=11, limit=10)))
    assert (stopped.used, stopped.limit, stopped.unit) == (11, 10, types_pb2.UNIT_NANODOLLARS)
    killed = entry_message(Entry(3, 5, events.Stopped(reason=Reason.KILL_SWITCH, now=True, actor_uid=0)))
    assert (killed.unit, killed.now, killed.HasField("actor_uid")) == (types_pb2.UNIT_UNSPECIFIED, True, True)


def test_a_checkpoint_has_the_account_that_it_stands_for() -> None:
    account = running().account
    message = entry_message(Entry(account.seq + 1, 5, events.Checkpoint(account=account, actor_uid=7)))
    assert (message.kind, message.actor_uid, message.account.entries) == ("checkpoint", 7, account.seq)
    assert message.account.run == account.run


def test_every_kind_of_event_has_a_form() -> None:
    assert set(_FORMS) == set(get_args(events.Event))
    assert {name for name, _ in _FORMS.values()} == set(TOLD)
