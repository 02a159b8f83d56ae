"""Programs that use the official openai package and know nothing of leash, under ``leashctl wrap``."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.harness import LEASHCTL, MODEL, PRICES, PYTHON, FakeProvider, Workspace, wait_until

MESSAGES = '[{"role": "user", "content": "go on"}]'

PRELUDE = f"""\
import asyncio
import sys

import openai

REQUEST = {{"model": "{MODEL}", "messages": {MESSAGES}}}
CALLS = int(sys.argv[1])


def refused(error):
    print("refused", error.status_code, error.code, flush=True)
    sys.exit(7)

"""

SYNC = """
client = openai.OpenAI()
for _ in range(CALLS):
    try:
        answer = client.chat.completions.create(**REQUEST)
    except openai.APIStatusError as error:
        refused(error)
    print("answered", answer.choices[0].message.content, answer.usage.total_tokens, flush=True)
"""

ASYNC = """
async def main():
    async with openai.AsyncOpenAI() as client:
        for _ in range(CALLS):
            try:
                answer = await client.chat.completions.create(**REQUEST)
            except openai.APIStatusError as error:
                refused(error)
            print("answered", answer.choices[0].message.content, answer.usage.total_tokens, flush=True)

asyncio.run(main())
"""

STREAM = """
client = openai.OpenAI()
for _ in range(CALLS):
    try:
        chunks = list(client.chat.completions.create(stream=True, **REQUEST))
    except openai.APIStatusError as error:
        refused(error)
    print("answered", [chunk.model_dump_json() for chunk in chunks], flush=True)
"""

STREAM_WITH_USAGE = """
client = openai.OpenAI()
for _ in range(CALLS):
    try:
        with client.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **REQUEST
        ) as stream:
            chunks = list(stream)
    except openai.APIStatusError as error:
        refused(error)
    assert chunks[-1].usage.total_tokens == 1500
    print("answered", [chunk.model_dump_json() for chunk in chunks], flush=True)
"""

ASYNC_STREAM = """
async def main():
    async with openai.AsyncOpenAI() as client:
        for _ in range(CALLS):
            try:
                stream = await client.chat.completions.create(stream=True, **REQUEST)
                chunks = [chunk async for chunk in stream]
            except openai.APIStatusError as error:
                refused(error)
            print("answered", [chunk.model_dump_json() for chunk in chunks], flush=True)

asyncio.run(main())
"""

PROGRAMS = {
    "sync": SYNC,
    "async": ASYNC,
    "stream": STREAM,
    "stream-with-usage": STREAM_WITH_USAGE,
    "async-stream": ASYNC_STREAM,
}

# Answers as often as it is told, then waits for the end with its calls done.
PAUSING = """
client = openai.OpenAI()
for _ in range(CALLS):
    answer = client.chat.completions.create(**REQUEST)
print("paused", flush=True)
sys.stdin.readline()
"""

# Its second call is in flight when it is killed.
IN_FLIGHT = """
client = openai.OpenAI()
client.chat.completions.create(**REQUEST)
print("paused", flush=True)
sys.stdin.readline()
client.chat.completions.create(**REQUEST)
"""


def without_ids(lines: list[str]) -> list[str]:
    """Lines as printed, but for the provider's running number of the answer."""
    return [re.sub(r"chatcmpl-fake-\d+", "chatcmpl-fake", line) for line in lines]


@pytest.mark.parametrize(
    "kind",
    [kind if kind in ("sync", "async-stream") else pytest.param(kind, marks=pytest.mark.long) for kind in PROGRAMS],
)
def test_a_program_is_governed_and_stopped(
    kind: str, workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--reply", "the same text in every answer")
    environ = {"OPENAI_BASE_URL": provider.base_url}
    workspace.write("prices.json", PRICES)
    program = str(workspace.write("agent.py", PRELUDE + PROGRAMS[kind]))
    bare = workspace.run(PYTHON, program, "4", environ=environ)
    assert bare.returncode == 0, bare.stderr

    governed = workspace.leashctl(
        *("wrap", "--max-cost", "0.10", "--prices", "prices.json", "--run", kind, "--"),
        *(PYTHON, program, "10"),
        environ=environ,
    )

    assert governed.returncode == 3, governed.stderr
    lines = governed.stdout.splitlines()
    assert without_ids(lines[:4]) == without_ids(bare.stdout.splitlines())
    assert lines[4:] == ["refused 429 cost_budget"]
    assert governed.stderr.splitlines()[-1] == (
        f"leash: stopped run {kind} after 4 calls, $0.10 tokens + $0.00 compute = $0.10 (cost_budget)"
    )
    assert provider.served() == 4 + 4
    account = workspace.account(kind)
    assert (account["status"], account["reason"]) == ("stopped", "cost_budget")
    assert totals(account) == (4, 4000, 2000, 0.1)


def test_a_program_that_stays_below_its_limits_keeps_its_exit_code(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    workspace.write("prices.json", PRICES)
    program = str(workspace.write("agent.py", PRELUDE + SYNC + "\nsys.exit(5)\n"))

    governed = workspace.leashctl(
        *("wrap", "--max-cost", "1", "--prices", "prices.json", "--run", "quiet", "--"),
        *(PYTHON, program, "2"),
        environ={"OPENAI_BASE_URL": provider.base_url},
    )

    assert governed.returncode == 5
    assert governed.stderr.splitlines() == [
        "leash: run quiet finished after 2 calls, $0.05 tokens + $0.00 compute = $0.05 (child_exited)"
    ]
    assert totals(workspace.account("quiet")) == (2, 2000, 1000, 0.05)


def test_the_totals_go_on_after_everything_was_killed(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    workspace.write("prices.json", PRICES)
    pausing = str(workspace.write("pausing.py", PRELUDE + PAUSING))
    again = str(workspace.write("again.py", PRELUDE + SYNC))
    environ = {"OPENAI_BASE_URL": provider.base_url}
    nightly = ("wrap", "--max-cost", "0.10", "--prices", "prices.json", "--run", "nightly", "--", PYTHON)

    started = start_and_pause(workspace, *nightly, pausing, "3", environ=environ)
    kill(workspace, started, find_everything(workspace, started, nightly))
    second = workspace.leashctl(*nightly, again, "10", environ=environ)
    third = workspace.leashctl(*nightly, again, "10", environ=environ)

    assert second.returncode == 3, second.stderr
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["answered", "refused"]
    assert third.returncode == 3, third.stderr
    assert third.stdout.splitlines() == ["refused 429 cost_budget"]
    assert provider.served() == 4
    assert totals(workspace.account("nightly")) == (4, 4000, 2000, 0.1)


def test_a_call_in_flight_when_everything_was_killed_stays_held(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider("--delay", "700ms")
    workspace.write("prices.json", PRICES)
    in_flight = str(workspace.write("in_flight.py", PRELUDE + IN_FLIGHT))
    again = str(workspace.write("again.py", PRELUDE + SYNC))
    environ = {"OPENAI_BASE_URL": provider.base_url}
    nightly = ("wrap", "--max-cost", "0.125", "--prices", "prices.json", "--run", "nightly", "--", PYTHON)

    started = start_and_pause(workspace, *nightly, in_flight, "2", environ=environ)
    everything = find_everything(workspace, started, nightly)
    started.stdin.write("go on\n")
    started.stdin.flush()
    wait_until(lambda: provider.served() == 2, "the second call reaches the provider")
    kill(workspace, started, everything)
    # One call cost 2.5 cents, and the one that was cut holds twice that: there is room for two more.
    second = workspace.leashctl(*nightly, again, "10", environ=environ)

    assert provider.served() == 4, second.stderr
    account = workspace.account("nightly")
    assert totals(account) == (3, 3000, 1500, 0.075)
    assert (account["unresolved_calls"], account["held_cost"]) == (1, 0.05)
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["answered", "answered", "refused"]
    assert second.stdout.splitlines()[-1] == "refused 429 unresolved_calls"
    assert second.returncode == 7, "no boundary stopped the run: once the call is resolved, it may go on"


def totals(account: dict[str, Any]) -> tuple[Any, ...]:
    return account["calls"], account["input_tokens"], account["output_tokens"], account["total_cost"]


def start_and_pause(workspace: Workspace, *arguments: str, environ: dict[str, str]) -> Any:
    """Start a wrapped program and wait for its word ``paused``."""
    started = workspace.start(LEASHCTL, *arguments, environ=environ)
    assert started.stdout is not None
    assert started.stdout.readline() == "paused\n", started.communicate()
    return started


def find_everything(workspace: Workspace, wrap: Any, nightly: tuple[str, ...]) -> tuple[int, ...]:
    """The wrapped program, wrap and the daemon. Wrap comes first: it would take note of its program's end."""
    run = nightly[nightly.index("--run") + 1]
    [daemon] = workspace.daemon_pids()
    return wrap.pid, daemon, workspace.listed(run)["pid"]


def kill(workspace: Workspace, wrap: Any, pids: tuple[int, ...]) -> None:
    """Send SIGKILL to each. The program may die with wrap."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert wrap.wait(timeout=10) == -signal.SIGKILL
    wait_until(lambda: not workspace.daemon_pids(), "the daemon is gone")
