from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from leashd.core.outbox import Failure
from leashd.reactions.hook import MAX_OUTPUT_BYTES, run_hook

pytestmark = pytest.mark.anyio

VARIABLES = {"LEASH_RUN": "r", "LEASH_EVENT_ID": "evt_0"}


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_a_hook_that_exits_with_zero_was_told(anyio_backend: object) -> None:
    code = "import os, sys; sys.exit(os.environ['LEASH_RUN'] != 'r')"
    assert await run_hook(python(code), timeout_s=30, variables=VARIABLES) is None


async def test_why_one_failed_is_said(anyio_backend: object) -> None:
    failure = await run_hook(python("import sys; sys.exit(7)"), timeout_s=30, variables=VARIABLES)
    assert failure == Failure(f"{sys.executable} exited with 7")
    failure = await run_hook(("/nowhere/tell",), timeout_s=30, variables=VARIABLES)
    assert failure == Failure("/nowhere/tell cannot be run: No such file or directory")
    failure = await run_hook(python("import time; time.sleep(600)"), timeout_s=0.5, variables=VARIABLES)
    assert failure == Failure(f"{sys.executable} did not end within 0.5 s, and was killed")


async def test_one_that_says_very_much_is_not_held_up_and_little_of_it_is_kept(
    anyio_backend: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []
    monkeypatch.setattr("leashd.reactions.hook._tell", lambda said, *_others: kept.append(said))
    code = "import sys; sys.stdout.write('x' * 5_000_000)"
    assert await run_hook(python(code), timeout_s=60, variables=VARIABLES) is None
    assert kept == [b"x" * MAX_OUTPUT_BYTES]


async def test_no_handler_of_a_fork_runs_in_its_process(anyio_backend: object) -> None:
    # Those of gRPC start threads there, one of which may end it by SIGSEGV before it is the hook.
    is_armed = [True]
    os.register_at_fork(after_in_child=lambda: os._exit(99) if is_armed else None)
    try:
        assert await run_hook(python("pass"), timeout_s=30, variables=VARIABLES) is None
    finally:
        is_armed.clear()
