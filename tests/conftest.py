"""What every test may ask for, and the rule that no test is skipped in CI without a reason that is written here."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from anyio._backends._asyncio import TestRunner

from tests.harness import FakeProvider, Workspace

# Node id -> why this test may be skipped in CI. Whatever else is skipped there fails the session.
ALLOWED_SKIPS: dict[str, str] = {}

_skipped: list[str] = []


@pytest.fixture(autouse=True, scope="session")
def _no_blame_for_grpcs_poller() -> Iterator[None]:
    """One poller of gRPC serves every loop of a process, and hands what is late for a loop of before to this one."""
    handle = TestRunner._exception_handler

    def judge(runner: TestRunner, loop: Any, context: dict[str, Any]) -> None:
        is_late = str(context.get("exception")) == "Event loop is closed"
        if not is_late or "PollerCompletionQueue" not in repr(context.get("handle")):
            handle(runner, loop, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestRunner, "_exception_handler", judge)
        yield


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A place of its own, with everything that was started in it ended afterwards."""
    created = Workspace.create()
    try:
        yield created
    finally:
        created.close()


@pytest.fixture
def fake_provider(workspace: Workspace) -> Callable[..., FakeProvider]:
    """Starts a fake provider with the flags that it is called with."""
    return workspace.fake_provider


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and report.nodeid not in ALLOWED_SKIPS:
        _skipped.append(report.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    # Where tests run in several processes, it is not the one that counts that collects.
    report = yield
    if report.skipped and report.nodeid not in ALLOWED_SKIPS and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = "skipped in CI without a reason in tests/conftest.py"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get("CI"):
        terminalreporter.section("skipped in CI without a reason in tests/conftest.py", red=True)
        for nodeid in _skipped:
            terminalreporter.write_line(nodeid, red=True)
