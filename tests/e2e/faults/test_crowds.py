"""More at once than anybody should have: ten thousand open calls, and a queue that is full."""

from __future__ import annotations

import os
import signal
import statistics
import time

import pytest

from leash.v1 import shim_pb2
from tests.e2e.faults.causes import SYNC, failing
from tests.e2e.faults.crowd import ask_all, reserves, send_all, settles, take_answers
from tests.e2e.faults.site import Site
from tests.harness import wait_until

pytestmark = pytest.mark.long

SESSIONS, CALLS = 4, 2_500
QUEUE = 65_536
LONG_S = 10.0  # a call waits for its commit; nothing that works takes a tenth of it


def _median_s(site: Site) -> float:
    """How long a call through the gateway takes, while the others are open."""
    answers = [site.call() for _ in range(15)]
    assert all(answer.whole for answer in answers)
    assert max(answer.took_s for answer in answers) < LONG_S
    return statistics.median(answer.took_s for answer in answers)


def _shows(site: Site, run: str, *, opened: int, unresolved: int, calls: int) -> bool:
    account = site.account(run)
    return (account["open_calls"], account["unresolved_calls"], account["calls"]) == (opened, unresolved, calls)


@pytest.mark.timeout(240)
def test_ten_thousand_open_calls_hold_nobody_up_and_outlive_a_kill(site: Site) -> None:
    site.serve()
    site.open_gateway()
    alone_s = _median_s(site)
    shims = [site.shim() for _ in range(SESSIONS)]
    opened = []
    for number, shim in enumerate(shims):
        shim.open(f"run-{number}", max_calls=1_000_000)
        opened.append(reserves(f"run-{number}", CALLS))
        assert all(answer.HasField("admitted") for answer in ask_all(shim, opened[-1]).values())
    crowded_s = _median_s(site)

    os.kill(site.pid, signal.SIGKILL)
    site.exit_code()
    began_s = time.monotonic()
    site.serve()
    restart_s = time.monotonic() - began_s
    print(f"a call: {alone_s * 1e3:.1f} ms alone, {crowded_s * 1e3:.1f} ms with them; a restart: {restart_s:.1f} s")
    # Two of the sessions come back within their grace, and settle everything.
    for number in (0, 1):
        held = tuple(made.reserve.call_id for made in opened[number])
        back = site.shim(shims[number].secret, held=held)
        back.open(f"run-{number}")
        answers = ask_all(back, settles(opened[number]))
        assert {answer.closed.outcome for answer in answers.values()} == {"settled"}
        shims.append(back)
    site.until_it_works()
    _median_s(site)
    for number in range(SESSIONS):
        calls, unresolved = (CALLS, 0) if number < 2 else (0, CALLS)
        wait_until(
            lambda run=f"run-{number}", calls=calls, unresolved=unresolved: _shows(
                site, run, opened=0, unresolved=unresolved, calls=calls
            ),
            f"the calls of run-{number} are closed",
        )
    assert site.leashctl("verify").returncode == 0
    for shim in shims:
        shim.close()


def test_a_full_queue_refuses_what_is_more_and_takes_the_rest_up_when_it_can(site: Site) -> None:
    site.serve()
    site.open_gateway()
    assert site.call().whole
    site.until_recorded(calls=1)
    crowd = [site.shim() for _ in range(2)]
    for shim in crowd:
        shim.open("crowd", max_calls=1_000_000)
    acknowledge = shim_pb2.Operation(acknowledge=shim_pb2.Acknowledge())

    with failing(site.pid, SYNC, "delay_enter=60s", trace=site.workspace.root / "trace"):
        send_all(crowd[0], reserves("crowd", 1))  # its commit keeps the writer busy
        asked = []
        for shim in crowd:
            operations = []
            for _ in range(QUEUE // 2 + 1_000):
                operation = shim_pb2.Operation()
                operation.CopyFrom(acknowledge)
                operations.append(operation)
            asked.append(send_all(shim, operations))
        busy = take_answers(crowd[1], asked[1], at_least=100)
        assert {answer.failure.code for answer in busy.values()} == {shim_pb2.FAILURE_CODE_BUSY}
        refused = site.call()
        assert (refused.status, refused.code, refused.retry_after) == (503, "leash_unavailable", "1")
        assert refused.message == "leashd has more to write than it can take: try again"
        assert site.served == 1

    site.until_it_works()
    answers = [
        *take_answers(crowd[0], asked[0]).values(),
        *take_answers(crowd[1], asked[1] - set(busy)).values(),
    ]
    done = sum(answer.HasField("done") for answer in answers)
    assert done >= QUEUE - 1_000  # all that had come in
    assert all(answer.HasField("done") or answer.failure.code == shim_pb2.FAILURE_CODE_BUSY for answer in answers)
    site.until_recorded(calls=site.served)
    for shim in crowd:
        shim.close()
