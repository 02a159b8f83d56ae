"""Nothing is acknowledged that a power loss could take: shown on the system calls of the real daemon."""

from __future__ import annotations

import re

import pytest

from tests.e2e.faults.site import Site
from tests.e2e.power.load import end_traced, serve_traced, work
from tests.e2e.power.write_order import check_order

SHIMS, CALLS = 4, 12

# Put before the daemon's own start, to show that the check finds what it is for.
NO_SYNC = """\
import lmdb
opened = lmdb.open
lmdb.open = lambda *args, **settings: opened(*args, **(settings | {"sync": False}))
"""
NO_SYNC_OF_THE_LAST_WRITE = NO_SYNC.replace("sync", "metasync")
NO_SYNC_OF_THE_NAME = """\
import os
os.fsync = lambda descriptor: None
"""
ANSWERS_FIRST = """\
import threading
from leashd.ledger import lmdb_ledger
commit = lmdb_ledger.LmdbLedger.commit
def later(self, batch):
    # Those without a reserve go on as they should, so that there is something to reserve in.
    if any(type(entry.event).__name__ == "Reserved" for _, entry in batch.entries):
        threading.Timer(0.1, commit, (self, batch)).start()
    else:
        commit(self, batch)
lmdb_ledger.LmdbLedger.commit = later
"""


def test_each_reserve_is_durable_before_its_answer_leaves_the_daemon(site: Site) -> None:
    trace = serve_traced(site)
    work(site, shims=SHIMS, calls=CALLS)
    end_traced(site, trace)

    order = check_order(trace, site.ledger)
    assert order.violations == ()
    assert order.reserves == SHIMS * CALLS
    assert order.commits > CALLS


@pytest.mark.parametrize(
    ("planted", "shims", "calls", "found"),
    [
        pytest.param(NO_SYNC, 2, 4, "unsynced writes", id="nothing is synced"),
        pytest.param(NO_SYNC_OF_THE_LAST_WRITE, 2, 4, "before its commit is durable", id="the meta page is not synced"),
        pytest.param(NO_SYNC_OF_THE_NAME, 1, 1, "the name of the file", id="the directory is not synced"),
        pytest.param(ANSWERS_FIRST, 1, 1, "durable|in no commit", id="the answer is sent before the commit"),
    ],
)
def test_the_check_finds_a_wrong_order_that_was_planted(
    site: Site, planted: str, shims: int, calls: int, found: str
) -> None:
    (site.workspace.root / "planted").mkdir()
    site.workspace.write("planted/sitecustomize.py", planted)
    trace = serve_traced(site, environ={"PYTHONPATH": str(site.workspace.root / "planted")})
    work(site, shims=shims, calls=calls)
    end_traced(site, trace)

    order = check_order(trace, site.ledger)
    assert any(re.search(found, violation) for violation in order.violations), order
