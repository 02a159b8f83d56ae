"""A ledger that is damaged or cut short: the daemon says so and what to do, and decides no call on it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.faults.site import Site
from tests.harness import PYTHON, Workspace

PAGE = 4096
METAS = 2
RUNS = 12
Damage = Callable[[bytes], bytes]


def _fill(site: Site) -> None:
    """Makes runs of some pages with calls that are settled, and one that is open; ends the daemon."""
    site.serve()
    for number in range(RUNS):
        shim, run = site.shim(), f"run-{number}"
        shim.open(run, max_calls=1000)
        for _ in range(10):
            call = secrets.token_bytes(16)
            assert shim.reserve(call, run).HasField("admitted")
            shim.settle(call, run)
        if number == 0:
            shim.reserve(secrets.token_bytes(16), run)
        shim.close()
    assert site.end_daemon() == 0


@pytest.fixture(scope="module")
def pristine() -> Iterator[bytes]:
    """A ledger's bytes as its daemon has left them."""
    workspace = Workspace.create()
    try:
        site = Site(workspace)
        _fill(site)
        yield site.ledger.read_bytes()
    finally:
        workspace.close()


def _cut(size: int) -> Damage:
    return lambda data: data[:size]


def _zeroed(first_page: int, pages: int) -> Damage:
    return lambda data: data[: first_page * PAGE] + bytes(pages * PAGE) + data[(first_page + pages) * PAGE :]


def _garbled(data: bytes) -> bytes:
    """A bit of each account is another. The pages are in order, so that LMDB has nothing against them."""
    assert data.count(b"created_at_ns") >= RUNS
    return data.replace(b"created_at_ns", b"created_at_nr")


def _check_farewell(site: Site) -> None:
    last = site.said.strip().splitlines()[-1]
    assert last.startswith(f"leashd: the ledger {site.ledger} is damaged: "), site.said
    assert f"`leashd verify --ledger {site.ledger}`" in last
    assert f"`leashd restore BACKUP --ledger {site.ledger}`" in last
    assert "Traceback" not in site.said


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(_cut(PAGE), id="cut to one page"),
        pytest.param(_cut(100), id="cut within its first page"),
        pytest.param(_zeroed(0, 1), id="first meta page zeroed"),
        pytest.param(_zeroed(1, 1), id="second meta page zeroed"),
        pytest.param(_zeroed(0, METAS), id="both meta pages zeroed"),
        pytest.param(lambda data: bytes(len(data)), id="all zeroed"),
        pytest.param(lambda _: b"these are notes\n" * 2000, id="another file"),
    ],
)
def test_a_daemon_does_not_start_on_it_says_what_to_do_and_leaves_it_as_it_is(
    site: Site, pristine: bytes, damage: Damage
) -> None:
    damaged = damage(pristine)
    site.ledger.write_bytes(damaged)
    site.start_daemon()

    assert site.exit_code() == 1
    _check_farewell(site)
    assert site.ledger.read_bytes() == damaged
    verified = site.workspace.run(PYTHON, "-m", "leashd", "verify", "--ledger", str(site.ledger))
    assert verified.returncode == 1
    assert "Traceback" not in verified.stdout + verified.stderr

    site.ledger.write_bytes(pristine)
    site.serve()
    assert len(json.loads(site.leashctl("ps", "--all", "--json").stdout)) == RUNS


def test_records_that_are_damaged_stop_the_daemon_at_the_first_one_that_it_needs(site: Site, pristine: bytes) -> None:
    site.ledger.write_bytes(pristine)
    site.serve()
    site.open_gateway()
    site.end_daemon()
    site.ledger.write_bytes(_garbled(pristine))
    site.start_daemon()

    refused = site.call(run="run-7")
    assert (refused.status, refused.code) == (503, "leash_unavailable")
    assert f"the ledger {site.ledger} is damaged" in refused.text
    assert site.exit_code() == 1
    _check_farewell(site)
    assert site.served == 0
    verified = site.workspace.run(PYTHON, "-m", "leashd", "verify", "--ledger", str(site.ledger))
    assert verified.returncode == 1
    assert "Traceback" not in verified.stdout + verified.stderr

    site.ledger.write_bytes(pristine)
    site.serve()
    site.until_it_works(run="run-7")
    assert site.served == 1


def test_a_person_who_asks_for_a_damaged_run_is_told_and_the_daemon_goes_on(site: Site, pristine: bytes) -> None:
    site.ledger.write_bytes(_garbled(pristine))
    site.serve()

    asked = site.leashctl("ps", "--all")
    assert asked.returncode == 1
    assert f"the ledger {site.ledger} is damaged" in asked.stderr
    assert "leashd verify" in asked.stderr
    assert "Traceback" not in asked.stderr + site.said


def test_a_wrapped_program_is_ended_where_its_ledger_is_damaged(site: Site, pristine: bytes) -> None:
    """The daemon is one that the command itself starts, and it starts its program at the same time."""
    site.ledger.write_bytes(pristine[: len(pristine) // 2])
    program = "import time; time.sleep(600)"

    wrapped = site.workspace.leashctl(
        *("wrap", "--db", str(site.ledger), "--max-calls", "5", "--", PYTHON, "-c", program)
    )

    assert wrapped.returncode == 1
    assert f"the ledger {site.ledger} is damaged" in wrapped.stderr
    assert "leashd verify" in wrapped.stderr
    assert "Traceback" not in wrapped.stderr


def test_a_wrapped_program_is_not_started_where_its_run_is_damaged(site: Site, pristine: bytes) -> None:
    """The daemon starts, and meets the damage when the run is opened: the command says why, and not that it hangs."""
    site.ledger.write_bytes(_garbled(pristine))

    wrapped = site.workspace.leashctl(
        *("wrap", "--db", str(site.ledger), "--run", "run-7", "--max-calls", "5", "--", PYTHON, "-c", "print('ran')")
    )

    assert (wrapped.returncode, wrapped.stdout) == (1, "")
    assert f"the ledger {site.ledger} is damaged" in wrapped.stderr
    assert "has not answered" not in wrapped.stderr
    assert "Traceback" not in wrapped.stderr
