"""The write that makes a commit count fails: nothing tells what is on the disk, so the daemon ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.faults.causes import failing
from tests.e2e.faults.site import Site
from tests.harness import wait_until

pytestmark = pytest.mark.long

META_BYTES = 8192  # LMDB's two meta pages are the first of the file
_INJECTED = re.compile(r"pwrite64\(\d+, .*, \d+, (\d+)\) = -1 E\w+ .*\(INJECTED\)")
ATTEMPTS = 60


def _hit(trace: Path) -> int:
    """The offset of the write that was made to fail; -1 where none was."""
    found = _INJECTED.search(trace.read_text())
    return int(found[1]) if found else -1


def _fail_a_meta_page(site: Site, fault: str) -> None:
    """Lets the first single-page write of a commit fail, until that is the one of its meta page."""
    trace = site.workspace.root / "trace"
    for _ in range(ATTEMPTS):
        with failing(site.pid, ("pwrite64",), f"error={fault}:when=1", trace=trace):
            answer = site.call()
            assert answer.status in {200, 503}
            wait_until(lambda: _hit(trace) >= 0, "a write has failed")
        if _hit(trace) < META_BYTES:
            return
        site.until_it_works()
    raise AssertionError(f"no meta page was hit in {ATTEMPTS} attempts")


def test_a_daemon_whose_meta_page_cannot_be_written_ends_and_another_one_has_everything(site: Site) -> None:
    site.serve()
    site.open_gateway()
    assert site.call().whole

    _fail_a_meta_page(site, "EIO")
    # It may take another commit to be told that LMDB takes none any more.
    refused = site.call()
    assert (refused.status, refused.code) == (503, "leash_unavailable")
    assert site.exit_code() == 1
    last = site.said.strip().splitlines()[-1]
    assert last.startswith("leashd: ")
    assert "start leashd again" in last
    assert "Traceback" not in site.said

    served = site.served
    site.serve()
    site.until_it_works()
    assert site.served == served + 1
    account = site.until_recorded(calls=site.served)
    assert account["unresolved_calls"] == 0
