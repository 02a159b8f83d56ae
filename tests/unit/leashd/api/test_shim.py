"""What a shim's messages ask of the engine, field by field; everything that comes in is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from leash.v1 import shim_pb2, types_pb2
from leashd.api.convert import InvalidMessageError
from leashd.api.shim import _Stream
from leashd.clock import LedgerClock
from leashd.committer import Committer
from leashd.ledger.lmdb_ledger import LmdbLedger
from leashd.operations import CloseRun, Hello, OpenRun, Probe, Probed
from leashd.standing import Standing
from leashd.tenancy import RunNames
from leashd.tickets import Caller


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[_Stream]:
    ledger = LmdbLedger(tmp_path / "leash.db")
    context: Any = None  # nothing is read or written here
    committer = Committer(ledger, LedgerClock(None))
    yield _Stream(committer, context, Caller(7), RunNames(), Standing(committer))
    ledger.close()


def asked(stream: _Stream, **message: Any) -> Any:
    """The operation that a message is."""
    return stream._operation(shim_pb2.Operation(op_id=1, **message))


def greeted(stream: _Stream) -> bytes:
    hello = asked(stream, hello=shim_pb2.Hello(session_id=b"s" * 16, protocol=2))
    assert isinstance(hello, Hello)
    return hello.session


@pytest.mark.anyio
async def test_an_opening_for_others_carries_what_they_ask_for_and_its_bounds(stream: _Stream) -> None:
    session = greeted(stream)
    opening = shim_pb2.OpenRun(
        run="t/r",
        limits=types_pb2.Limits(max_calls=5),
        defaults=types_pb2.Limits(deadline_ns=6),
        lowered=types_pb2.Limits(max_cost_nanodollars=7, max_calls=0),
        prices_sha256=b"p" * 32,
        kind="gateway",
        max_open_runs=8,
        max_runs=9,
    )

    assert asked(stream, open_run=opening) == OpenRun(
        session=session,
        link=stream,
        run="t/r",
        owner_uid=7,
        given={"max_calls": 5},
        defaults={"deadline_ns": 6},
        prices_sha256=b"p" * 32,
        pid=0,
        lowered={"max_cost_nanodollars": 7, "max_calls": 0},
        on_behalf=True,
        max_open_runs=8,
        max_runs=9,
    )


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["", "wrap", "Gateway", "other"])
async def test_every_other_opening_is_for_its_own_agent(stream: _Stream, kind: str) -> None:
    greeted(stream)
    operation = asked(stream, open_run=shim_pb2.OpenRun(run="r", kind=kind))

    assert (operation.on_behalf, operation.lowered) == (False, {})
    assert (operation.max_open_runs, operation.max_runs) == (0, 0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields",
    [{"max_open_runs": -1}, {"max_runs": -1}, {"lowered": types_pb2.Limits(max_calls=-1)}, {"run": "a/b/c"}],
)
async def test_an_opening_that_no_correct_client_sends_is_refused(stream: _Stream, fields: dict[str, Any]) -> None:
    greeted(stream)
    with pytest.raises(InvalidMessageError):
        asked(stream, open_run=shim_pb2.OpenRun(**({"run": "r"} | fields)))


@pytest.mark.anyio
@pytest.mark.parametrize("unfinished", [True, False])
async def test_a_close_says_whether_the_agent_goes_on(stream: _Stream, unfinished: bool) -> None:
    session = greeted(stream)
    closing = shim_pb2.CloseRun(run="r", unfinished=unfinished)

    assert asked(stream, close_run=closing) == CloseRun(session, stream, "r", unfinished)


@pytest.mark.anyio
async def test_a_probe_is_answered_with_the_committers_figures(stream: _Stream) -> None:
    with pytest.raises(InvalidMessageError, match="hello"):
        asked(stream, probe=shim_pb2.Probe())
    session = greeted(stream)
    assert asked(stream, probe=shim_pb2.Probe()) == Probe(session, stream)

    stream._committer.figures.committed(operations=2, entries=1)
    stream._answer(3, Probed(open_runs=4))
    [answer] = stream._answers
    assert (answer.op_id, answer.probed.open_runs) == (3, 4)
    assert (answer.probed.commits, answer.probed.operations, answer.probed.commits_by_size[1]) == (1, 2, 1)
