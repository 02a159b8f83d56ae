"""``leashctl report``: a page from a real ledger, in one file of its user's own."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.view.test_watch import run
from tests.harness import FakeProvider, Workspace


def test_a_run_and_the_host(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    provider = fake_provider("--delay", "20ms")
    run(workspace, provider, "nightly", "--max-cost", "0.06", calls=5)
    run(workspace, provider, "other", "--max-cost", "9", calls=2)
    database = ("--db", str(workspace.ledger))

    one = workspace.leashctl("report", "nightly", *database)
    assert (one.returncode, one.stdout, one.stderr) == (0, "leash-report-nightly.html\n", "")
    path = workspace.root / "leash-report-nightly.html"
    assert path.stat().st_mode & 0o777 == 0o600
    page = path.read_text()
    for shown in ("Run nightly", "stopped (cost_budget)", "$0.08", "of $0.06: 125%", "demo-model", "3,000", "1,500"):
        assert shown in page, shown
    assert "other" not in page.partition("<body>")[2]
    assert "<script" not in page
    assert "http" not in page.partition("<body>")[2].replace("http-equiv", "")

    host = workspace.leashctl("report", "--since", "1h", "--output", "-", *database)
    assert host.returncode == 0, host.stderr
    for shown in ("All runs, the last 1h", "nightly", "other", "$0.13", "<rect"):
        assert shown in host.stdout, shown


def test_what_cannot_be_reported_is_said(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> None:
    run(workspace, fake_provider(), "nightly", calls=1)
    unknown = workspace.leashctl("report", "nightl", "--db", str(workspace.ledger))
    assert (unknown.returncode, unknown.stderr) == (1, "leash: there is no run nightl: did you mean nightly?\n")
    assert not list(workspace.root.glob("*.html"))
    nowhere = workspace.leashctl("report", "--db", str(workspace.root / "none.db"))
    assert nowhere.returncode == 1
    assert "nothing to report" in nowhere.stderr
    assert workspace.leashctl("report", "--since", "0").returncode == 2
