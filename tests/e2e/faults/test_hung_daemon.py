"""A daemon that is there and does nothing: nobody waits longer for it than for one that is away; nothing is lost."""

from __future__ import annotations

import time

import pytest

from tests.e2e.faults.causes import hung
from tests.e2e.faults.site import Site
from tests.harness import PYTHON, wait_until

pytestmark = pytest.mark.long

# It is 5 s and up to 2 s more until silence is noticed. A machine that does other things as well gets as much again.
BOUND_S = 15.0


def test_calls_are_refused_in_bounded_time_and_go_on_when_the_daemon_does(site: Site) -> None:
    site.serve()
    site.open_gateway()
    assert site.call().whole

    with hung(site.pid):
        for run in ("r", "r", "another"):  # the first finds a stream that stands, the last has to open its run
            refused = site.call(run=run)
            assert (refused.status, refused.code, refused.retry_after) == (503, "leash_unavailable", "1")
            assert refused.took_s < BOUND_S
        status, why = site.ready()
        assert (status, why) == (503, "leashd has not written to its ledger within 1 s")
        began_s = time.monotonic()
        asked = site.leashctl("ps")
        assert asked.returncode == 1
        assert "has not answered" in asked.stderr
        assert time.monotonic() - began_s < BOUND_S
        assert site.served == 1

    for run in ("r", "another"):
        site.until_it_works(run=run)
    calls = site.served
    wait_until(lambda: site.ready()[0] == 200, "the gateway is ready again")
    # What the daemon reads only now of the calls that were refused is taken back.
    recorded = site.until_recorded(calls=site.account()["calls"])["calls"]
    assert recorded + site.until_recorded(calls=1, run="another")["calls"] == calls


@pytest.mark.parametrize("streams", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_call_that_is_under_way_is_answered_meanwhile_and_recorded_afterwards(site: Site, *, streams: bool) -> None:
    site.serve()
    site.open_gateway(provider=("--delay", "1s", "--chunks", "8", "--chunk-delay", "1s"))
    with site.connected() as connection:
        if streams:
            answer = site.begin(connection, streams=True)
            with hung(site.pid):
                assert answer.read().decode().rstrip().endswith("[DONE]")
        else:
            connection.request(
                "POST", "/v1/chat/completions", site.body(), {"Content-Type": "application/json", "X-Loop-Id": "r"}
            )
            wait_until(lambda: site.served == 1, "the provider has it")
            with hung(site.pid):
                answer = connection.getresponse()
                assert (answer.status, b"choices" in answer.read()) == (200, True)
                time.sleep(6)  # longer than the stream is kept
    assert site.until_recorded(calls=1)["unresolved_calls"] == 0


def test_a_wrapped_program_is_ended_where_its_daemon_hangs_from_the_start(site: Site) -> None:
    site.serve()
    began_s = time.monotonic()
    with hung(site.pid):
        program = "import time; time.sleep(600)"
        wrapped = site.leashctl("wrap", "--max-calls", "5", "--", PYTHON, "-c", program)

    assert wrapped.returncode == 1
    assert "has not answered" in wrapped.stderr
    assert time.monotonic() - began_s < 2 * BOUND_S
