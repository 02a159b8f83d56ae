"""The real leashd, over its sockets: it starts, serves, dies and comes back as DESIGN 2, 4.1, 4.4 and 4.5 say."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import lmdb
import pytest

from leash.v1 import control_pb2, control_pb2_grpc, runs_pb2, runs_pb2_grpc, shim_pb2, shim_pb2_grpc, types_pb2
from tests.e2e.raw_daemon import WAIT_S, Place, Shim

GRACE_S = 2.0
PRICES = b'{"m": {"input": 1, "output": 2}}'


@pytest.fixture
def place() -> Iterator[Place]:
    # pytest's own directories are too long for a socket's name.
    created = Place(Path(tempfile.mkdtemp(prefix="ld-", dir="/tmp")).resolve())
    yield created
    created.close()


@pytest.fixture
def shims(place: Place) -> Iterator[Any]:
    """Starts shim sessions that end with the test."""
    started: list[Shim] = []

    def start(secret: bytes | None = None, **how: Any) -> Shim:
        started.append(Shim(place, secret, **how))
        return started[-1]

    yield start
    for shim in started:
        shim.close()


def people(place: Place) -> Any:
    """A channel, and every method that a person may call on it."""
    channel = place.channel(place.control)
    stubs = (control_pb2_grpc.ControlStub(channel), runs_pb2_grpc.RunsStub(channel))
    return closing(channel), SimpleNamespace(**{name: method for stub in stubs for name, method in vars(stub).items()})


def account(place: Place, run: str = "r") -> types_pb2.Account:
    channel, control = people(place)
    with channel:
        answer: runs_pb2.GetResponse = control.Get(runs_pb2.GetRequest(run=run), timeout=WAIT_S)
        return answer.account


def wait_for(place: Place, *, open_calls: int, unresolved_calls: int, at_most_s: float = WAIT_S) -> float:
    """Seconds until the run has so many open and unresolved calls."""
    began_s = time.monotonic()
    while True:
        now = account(place)
        if (now.open_calls, now.unresolved_calls) == (open_calls, unresolved_calls):
            return time.monotonic() - began_s
        assert time.monotonic() - began_s < at_most_s, now
        time.sleep(0.05)


def call_id() -> bytes:
    return secrets.token_bytes(16)


# Its life


def test_it_is_ready_when_it_serves_and_says_what_it_serves(place: Place) -> None:
    daemon = place.serve()
    channel, control = people(place)
    with channel:
        info = control.Info(runs_pb2.InfoRequest(), timeout=WAIT_S)

    assert (info.pid, info.ledger, info.protocol, info.owner_uid) == (daemon.pid, str(place.ledger), 2, os.getuid())
    assert (info.sessions, info.open_calls, info.read_only) == (0, 0, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_leaves_the_sockets_free(place: Place, number: signal.Signals) -> None:
    daemon = place.serve()
    daemon.process.send_signal(number)

    assert daemon.wait() == 0, daemon.said
    assert "Traceback" not in daemon.said
    place.serve()


def test_a_signal_ends_it_with_shims_connected_and_calls_open_and_nothing_is_lost(place: Place, shims: Any) -> None:
    daemon = place.serve()
    shim = shims()
    shim.open()
    call = call_id()
    shim.reserve(call)

    assert daemon.terminate() == 0, daemon.said
    place.serve()
    again = shims(shim.secret, held=(call,))
    assert again.settle(call).closed.outcome == "settled"


def test_a_second_daemon_of_the_ledger_is_refused_with_the_first_ones_pid(place: Place) -> None:
    first = place.serve()
    second = place.start(sock=place.root / "other.sock")

    assert second.wait() == 1
    assert f"pid {first.pid}" in second.said
    assert str(place.ledger) in second.said
    assert "Traceback" not in second.said


def test_a_daemon_of_another_ledger_does_not_take_the_socket_away(place: Place, shims: Any) -> None:
    place.serve()
    second = place.start(ledger=place.root / "other.db")

    assert second.wait() == 1
    assert str(place.socket) in second.said
    assert "Traceback" not in second.said
    assert shims().greeting.HasField("welcome")


def test_a_socket_that_a_killed_daemon_left_behind_is_taken_over(place: Place) -> None:
    place.serve().kill()
    assert place.socket.exists()

    place.serve()


def test_a_ledger_of_another_schema_is_refused_with_what_to_do(place: Place) -> None:
    place.serve().terminate()
    with lmdb.open(str(place.ledger), subdir=False, max_dbs=16) as env, env.begin(write=True) as txn:
        txn.put(b"schema", b"99", db=env.open_db(b"meta", txn=txn))
    daemon = place.start()

    assert daemon.wait() == 1
    assert "schema 99" in daemon.said
    assert "--ledger" in daemon.said
    assert "Traceback" not in daemon.said


def test_a_directory_that_cannot_be_used_is_named(place: Place) -> None:
    (place.root / "file").write_text("")
    daemon = place.start(ledger=place.root / "file" / "leash.db")

    assert daemon.wait() == 1
    assert "leash.db" in daemon.said
    assert "Traceback" not in daemon.said


def test_a_socket_path_that_is_too_long_is_named(place: Place) -> None:
    daemon = place.start(sock=place.root / ("s" * 120))

    assert daemon.wait() == 1
    assert "107" in daemon.said
    assert "Traceback" not in daemon.said


def test_it_leaves_by_itself_when_nobody_has_used_it_for_so_long(place: Place) -> None:
    daemon = place.serve("--idle-exit", "1s")
    began_s = time.monotonic()

    assert daemon.wait() == 0, daemon.said
    assert time.monotonic() - began_s < 5


def test_it_does_not_leave_while_a_shim_is_connected(place: Place, shims: Any) -> None:
    daemon = place.serve("--idle-exit", "1s")
    shim = shims()
    time.sleep(2.5)
    assert daemon.process.poll() is None
    shim.close()

    assert daemon.wait() == 0, daemon.said


def test_the_ledger_and_its_lock_are_their_users_own(place: Place) -> None:
    place.serve()

    for path in place.root.iterdir():
        if path.name.startswith("leash.db"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


# Its clients


def test_the_first_operation_is_a_hello(place: Place, shims: Any) -> None:
    place.serve()
    shim = shims(b"too short")
    assert shim.greeting.failure.code == shim_pb2.FAILURE_CODE_INVALID

    assert "hello" in shim.open().failure.message


def test_a_stream_has_one_hello(place: Place, shims: Any) -> None:
    place.serve()
    answer = shims().ask(hello=shim_pb2.Hello(session_id=bytes(16), protocol=2))

    assert answer.failure.code == shim_pb2.FAILURE_CODE_INVALID


@pytest.mark.parametrize("run", ["", "a b", "x" * 500])
def test_a_run_of_no_proper_name_is_refused(place: Place, shims: Any, run: str) -> None:
    place.serve()

    assert shims().open(run).failure.code == shim_pb2.FAILURE_CODE_INVALID


def test_a_text_that_is_no_price_table_is_refused_and_one_that_is_is_kept(place: Place) -> None:
    place.serve()
    with place.channel(place.socket) as channel:
        stub = shim_pb2_grpc.ShimStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.PutPrices(shim_pb2.PutPricesRequest(text=b"{"), timeout=WAIT_S)
        stored = stub.PutPrices(shim_pb2.PutPricesRequest(text=PRICES), timeout=WAIT_S)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (len(stored.sha256), stored.models) == (32, 1)


def test_a_gateway_opens_runs_for_others_within_its_bounds(place: Place, shims: Any) -> None:
    place.serve()
    gateway, another = shims(), shims()

    def open_run(run: str, *, by: Shim = gateway, max_calls: int = 5, **fields: Any) -> shim_pb2.Answer:
        limits = types_pb2.Limits(max_calls=max_calls, deadline_ns=3_600 * 10**9)
        return by.ask(
            open_run=shim_pb2.OpenRun(run=run, limits=limits, kind="gateway", max_open_runs=3, max_runs=2, **fields)
        )

    lowered = open_run("a/r", lowered=types_pb2.Limits(max_calls=2)).account
    assert (lowered.limits.max_calls, lowered.declared.max_calls) == (2, 5)
    assert open_run("a/r", by=another, max_calls=9).account.limits.max_calls == 2
    for run in ("a/s", "b/r"):
        assert open_run(run).account.run == run
    assert open_run("a/t").failure.code == shim_pb2.FAILURE_CODE_TOO_MANY_RUNS
    refused = open_run("b/s").failure
    assert refused.code == shim_pb2.FAILURE_CODE_TOO_MANY_OPEN
    assert "--max-runs" in refused.message

    call = call_id()
    assert gateway.reserve(call, "b/r").HasField("admitted")
    assert gateway.settle(call, "b/r").closed.blind == types_pb2.REASON_UNSPECIFIED
    gateway.ask(close_run=shim_pb2.CloseRun(run="b/r", unfinished=True))
    left = account(place, "b/r")
    assert left.reason == "opener_lost"
    probed = gateway.ask(probe=shim_pb2.Probe()).probed
    assert probed.open_runs == 2
    assert (sum(probed.commits_by_size), len(probed.commits_by_size)) == (probed.commits, 13)
    assert probed.operations >= probed.commits > 5
    assert open_run("b/r").account.started_at_unix_ns == left.started_at_unix_ns > 0


def test_a_kill_reaches_the_shim_that_has_the_run_open(place: Place, shims: Any) -> None:
    place.serve()
    shim = shims()
    shim.open()
    channel, control = people(place)
    with channel:
        answer = control.Kill(control_pb2.KillRequest(runs=["r", "nobody"], now=True), timeout=WAIT_S)

    assert (list(answer.killed), list(answer.unknown)) == (["r"], ["nobody"])
    assert shim.reserve(call_id()).refused.reason == types_pb2.REASON_KILL_SWITCH
    (push,) = shim.pushes
    assert (push.run_stopped.reason, push.run_stopped.now) == (types_pb2.REASON_KILL_SWITCH, True)


def test_a_person_sees_the_runs_their_journal_and_its_entries_as_they_come(place: Place, shims: Any) -> None:
    place.serve()
    shim = shims()
    shim.open()
    channel, control = people(place)
    with channel:
        watched = control.Watch(runs_pb2.WatchRequest(run="r"), timeout=WAIT_S)
        runs = [a.run for page in control.List(runs_pb2.ListRequest(), timeout=WAIT_S) for a in page.accounts]
        call = call_id()
        shim.reserve(call)
        first = next(watched)
        shim.settle(call)
        pages = control.Journal(runs_pb2.JournalRequest(run="r"), timeout=WAIT_S)
        entries = [entry for page in pages for entry in page.entries]
        watched.cancel()

    assert runs == ["r"]
    assert (first.entry.kind, first.entry.call_id, first.account.open_calls) == ("reserved", call, 1)
    assert [(entry.seq, entry.kind) for entry in entries] == [(1, "opened"), (2, "reserved"), (3, "settled")]
    assert all(entry.hash for entry in entries)


@pytest.mark.parametrize("rpc", ["Get", "Journal", "Raise", "Resolve"])
def test_an_unknown_run_is_not_found(place: Place, rpc: str) -> None:
    place.serve()
    request: Any = {
        "Get": runs_pb2.GetRequest(run="nobody"),
        "Journal": runs_pb2.JournalRequest(run="nobody"),
        "Raise": control_pb2.RaiseRequest(run="nobody", limits=types_pb2.Limits(max_calls=1)),
        "Resolve": control_pb2.ResolveRequest(run="nobody", call_id=bytes(16)),
    }[rpc]
    channel, control = people(place)
    with channel, pytest.raises(grpc.RpcError) as refused:
        list(getattr(control, rpc)(request, timeout=WAIT_S))

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("run", ["", "x" * 600])
def test_a_name_that_no_run_can_have_is_an_unknown_run_and_the_daemon_goes_on(place: Place, run: str) -> None:
    daemon = place.serve()
    channel, control = people(place)
    with channel:
        assert list(control.Kill(control_pb2.KillRequest(runs=[run]), timeout=WAIT_S).unknown) == [run]
        with pytest.raises(grpc.RpcError) as refused:
            control.Get(runs_pb2.GetRequest(run=run), timeout=WAIT_S)
        control.Info(runs_pb2.InfoRequest(), timeout=WAIT_S)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert daemon.process.poll() is None, daemon.said


def test_a_place_before_a_journal_is_its_beginning(place: Place, shims: Any) -> None:
    place.serve()
    shims().open()
    channel, control = people(place)
    with channel:
        pages = list(control.Journal(runs_pb2.JournalRequest(run="r", after_seq=-5), timeout=WAIT_S))

    assert [entry.seq for page in pages for entry in page.entries] == [1]


def test_bounds_beyond_any_call_are_decided_and_the_daemon_goes_on(place: Place, shims: Any) -> None:
    daemon = place.serve()
    with place.channel(place.socket) as channel:
        request = shim_pb2.PutPricesRequest(text=b'{"m": {"input": 1, "output": 2, "context": 1000}}')
        prices = shim_pb2_grpc.ShimStub(channel).PutPrices(request, timeout=WAIT_S).sha256
    shim = shims()
    limits = types_pb2.Limits(max_cost_nanodollars=10**9)
    shim.ask(open_run=shim_pb2.OpenRun(run="r", limits=limits, prices_sha256=prices))
    asked = shim_pb2.Reserve(call_id=call_id(), run="r", model="m", choices=2**30, output_bound_tokens=2**62)

    assert shim.ask(reserve=asked).HasField("admitted")
    assert account(place).open_calls == 1
    assert daemon.process.poll() is None, daemon.said


# kill -9


def test_after_a_kill_the_session_that_comes_back_within_the_grace_keeps_its_calls(place: Place, shims: Any) -> None:
    daemon = place.serve()
    shim = shims()
    shim.open()
    call = call_id()
    assert shim.reserve(call).HasField("admitted")
    daemon.kill()
    place.serve()

    again = shims(shim.secret, held=(call,))
    again.open()
    time.sleep(GRACE_S + 0.5)
    assert account(place).open_calls == 1
    assert again.settle(call).closed.outcome == "settled"
    assert again.settle(call).closed.repeated
    assert account(place).calls == 1


def test_after_a_kill_calls_that_no_session_claims_are_open_for_the_grace_and_then_unresolved(
    place: Place, shims: Any
) -> None:
    daemon = place.serve()
    shim = shims()
    shim.open(max_calls=1)
    shim.reserve(call_id())
    daemon.kill()
    place.serve()

    assert account(place).open_calls == 1
    assert 1 < wait_for(place, open_calls=0, unresolved_calls=1) < GRACE_S + 3
    other = shims()
    other.open()
    assert other.reserve(call_id()).refused.reason == types_pb2.REASON_UNRESOLVED_CALLS


def test_the_calls_of_a_shim_that_died_are_unresolved_after_the_grace(place: Place, shims: Any) -> None:
    place.serve()
    shim = shims()
    shim.open()
    call = call_id()
    shim.reserve(call)
    shim.close()

    wait_for(place, open_calls=0, unresolved_calls=1)
    channel, control = people(place)
    with channel:
        request = control_pb2.ResolveRequest(run="r", call_id=call[:4], cost_nanodollars=5)
        resolved = control.Resolve(request, timeout=WAIT_S)
    assert (resolved.call_id, resolved.account.token_cost_nanodollars) == (call, 5)


def test_a_call_that_the_returning_session_does_not_hold_was_never_forwarded(place: Place, shims: Any) -> None:
    place.serve()
    shim = shims()
    shim.open()
    shim.reserve(call_id())
    shim.close()

    shims(shim.secret)
    wait_for(place, open_calls=0, unresolved_calls=0, at_most_s=GRACE_S)


def test_a_stop_and_the_totals_outlive_a_kill(place: Place, shims: Any) -> None:
    daemon = place.serve()
    shim = shims()
    shim.open(max_calls=1)
    call = call_id()
    shim.reserve(call)
    shim.settle(call)
    assert shim.reserve(call_id()).refused.reason == types_pb2.REASON_MAX_CALLS
    before = account(place)
    daemon.kill()
    place.serve()

    after = account(place)
    assert (after.status, after.reason, after.calls) == (types_pb2.STATUS_STOPPED, "max_calls", 1)
    assert after.entries == before.entries
    other = shims()
    other.open()
    assert other.reserve(call_id()).refused.reason == types_pb2.REASON_MAX_CALLS


def test_a_waiting_call_is_told_as_soon_as_there_is_room(place: Place, shims: Any) -> None:
    place.serve()
    holder, waiter = shims(), shims()
    holder.open(max_calls=2)
    waiter.open()
    first, second = call_id(), call_id()
    holder.reserve(first)
    holder.reserve(second)
    waiter._op_id += 1
    asked = shim_pb2.Reserve(call_id=call_id(), run="r", model="m", choices=1)
    waiting = shim_pb2.Operation(op_id=waiter._op_id, reserve=asked)
    waiter._requests.put(shim_pb2.SessionRequest(operations=[waiting]))
    time.sleep(0.2)
    holder.ask(void=shim_pb2.Void(call_id=first, run="r"))

    (answer,) = next(waiter._responses).answers
    assert answer.HasField("admitted")


def test_every_answer_is_durable_when_it_is_given(place: Place, shims: Any) -> None:
    daemon = place.serve()
    shim = shims()
    shim.open()
    calls = [call_id() for _ in range(20)]
    for call in calls:
        assert shim.reserve(call).HasField("admitted")
        if call is calls[-1]:
            break
        shim.settle(call)
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    place.serve()

    now = account(place)
    assert (now.calls, now.open_calls) == (19, 1)


def test_nobody_but_its_user_may_connect(place: Place) -> None:
    place.serve()

    for path in (place.socket, place.control, place.tickets):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
