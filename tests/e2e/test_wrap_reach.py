"""Which programs ``leashctl wrap`` reaches through their environment, and what it says where it reached none."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from tests.harness import LEASHCTL, PRICES, PYTHON, FakeProvider, Workspace, wait_until

# Sends one request below the address that a variable names: METHOD VARIABLE APPENDED, and prints the status.
ASK = """\
import json, os, sys, urllib.error, urllib.request
method, variable, appended = sys.argv[1:]
body = {"model": "demo-model", "messages": [{"role": "user", "content": "go on"}], "max_tokens": 500, "stream": False}
data = json.dumps(body).encode() if method == "POST" else None
request = urllib.request.Request(
    os.environ[variable] + appended, data, {"Content-Type": "application/json"}, method=method
)
try:
    with urllib.request.urlopen(request) as answer:
        print(answer.status)
except urllib.error.HTTPError as refusal:
    print(refusal.code)
"""

CHAT = ("POST", "OPENAI_BASE_URL", "/chat/completions")


class Asker:
    """A program that sends one request, and wrap around it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.program = str(workspace.write("ask.py", ASK))
        self.prices = str(workspace.write("prices.json", PRICES))

    def wrap(
        self, *flags: str, ask: tuple[str, str, str] = CHAT, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.workspace.leashctl("wrap", *flags, "--", PYTHON, self.program, *ask, environ=environ)


@pytest.fixture
def asker(workspace: Workspace) -> Asker:
    return Asker(workspace)


def said(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of leash's own before the last, which is the end line."""
    return [line for line in ended.stderr.splitlines() if line.startswith("leash: ")][:-1]


@pytest.mark.parametrize(
    ("variable", "appended"),
    [
        ("OPENAI_API_BASE", "/chat/completions"),
        ("OPENAI_HOST", "/v1/chat/completions"),
        ("ANTHROPIC_BASE_URL", "/v1/messages"),
        ("ANTHROPIC_BASE_URL", "/messages"),
        ("ANTHROPIC_HOST", "/v1/messages"),
        ("OLLAMA_HOST", "/api/chat"),
        ("GROQ_API_BASE", "/chat/completions"),
        ("MISTRAL_BASE_URL", "/chat/completions"),
        ("OPENROUTER_API_BASE", "/chat/completions"),
        ("TOGETHER_BASE_URL", "/v1/chat/completions"),
    ],
)
def test_program_that_nobody_has_told_an_address_is_governed(
    asker: Asker, fake_provider: Callable[..., FakeProvider], variable: str, appended: str
) -> None:
    provider = fake_provider()
    ended = asker.wrap(
        *("--max-cost", "0", "--run", "a", "--upstream", provider.origin), ask=("POST", variable, appended)
    )
    assert ended.stdout == "200\n"
    assert provider.served() == 1
    assert asker.workspace.account("a")["calls"] == 1
    assert said(ended) == []


def test_each_address_that_was_set_is_reached_through_its_own_mount(
    asker: Asker, fake_provider: Callable[..., FakeProvider]
) -> None:
    one, two, three = fake_provider(), fake_provider(), fake_provider()
    environ = {
        "OPENAI_BASE_URL": one.base_url,
        "GROQ_API_BASE": two.base_url,
        "OLLAMA_HOST": three.origin.removeprefix("http://"),
    }
    for variable, appended in (("GROQ_API_BASE", "/chat/completions"), ("OLLAMA_HOST", "/api/chat")):
        ended = asker.wrap("--max-cost", "0", ask=("POST", variable, appended), environ=environ)
        assert ended.stdout == "200\n"
    assert (one.served(), two.served(), three.served()) == (0, 1, 1)


def test_program_that_goes_elsewhere_is_said_to(
    asker: Asker, workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    aside = f"{PYTHON} {asker.program} POST HERE /chat/completions"
    ended = workspace.leashctl(
        *("wrap", "--max-cost", "0", "--", "sh", "-c", f"HERE={provider.base_url} {aside}"),
    )
    assert (ended.returncode, ended.stdout) == (0, "200\n")
    assert provider.served() == 1
    [line] = said(ended)
    assert line.startswith("leash: nothing came to leash: the program made no call, or it does not take its provider's")
    assert "docs/agents.md" in line


def test_program_that_fails_first_is_not_suspected_alone(workspace: Workspace) -> None:
    ended = workspace.leashctl("wrap", "--max-cost", "0", "--", "sh", "-c", "exit 5")
    assert ended.returncode == 5
    assert [line.partition(", or")[0] for line in said(ended)] == [
        "leash: nothing came to leash: the program failed before its first call"
    ]


def test_free_requests_alone_are_said_to_be_all(asker: Asker, fake_provider: Callable[..., FakeProvider]) -> None:
    flags = ("--max-cost", "0", "--upstream", fake_provider().base_url)
    ended = asker.wrap(*flags, ask=("GET", "OPENAI_BASE_URL", "/models"))
    assert ended.stdout == "200\n"
    [line] = said(ended)
    assert line.startswith("leash: only requests that cost nothing came to leash")


def test_endpoints_that_were_refused_are_said_to_be_all(
    asker: Asker, fake_provider: Callable[..., FakeProvider]
) -> None:
    flags = ("--max-cost", "1", "--prices", asker.prices, "--upstream", fake_provider().base_url)
    ended = asker.wrap(*flags, ask=("POST", "OPENAI_BASE_URL", "/fine_tuning/jobs"))
    assert ended.stdout == "402\n"
    [line] = said(ended)
    assert line.startswith("leash: the request that came to leash was refused")


def test_provider_that_cannot_be_reached_is_told_of(asker: Asker) -> None:
    ended = asker.wrap("--max-cost", "0", "--upstream", "http://127.0.0.1:1/v1")
    assert ended.stdout == "502\n"
    [line] = said(ended)
    assert line.startswith("leash: the call that came to leash was refused, or failed on the way")


def test_run_that_was_stopped_has_its_reason_already(asker: Asker, fake_provider: Callable[..., FakeProvider]) -> None:
    unpriced = str(asker.workspace.write("other.json", {"other-model": PRICES["demo-model"]}))
    flags = ("--max-cost", "1", "--prices", unpriced, "--upstream", fake_provider().base_url)
    ended = asker.wrap(*flags)
    assert ended.returncode == 3
    assert said(ended) == []
    assert ended.stderr.splitlines()[-1].endswith("(unpriced_model)")


def test_named_run_is_asked_for_the_calls_of_this_time(
    asker: Asker, workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    flags = ("--run", "nightly", "--max-cost", "0", "--upstream", fake_provider().base_url)
    assert said(asker.wrap(*flags)) == []
    again = workspace.leashctl("wrap", *flags, "--", "true")
    assert [line.partition(":")[2].partition(":")[0] for line in said(again)] == [" nothing came to leash"]
    assert "after 1 calls" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "kill -TERM $$"],
        ["sh", "-c", "sh -c 'kill -INT $$'; exit 130"],
        ["no-such-command-anywhere"],
    ],
)
@pytest.mark.parametrize("flags", [[], ["--run", "a"]])
def test_program_that_was_ended_or_never_began_is_not_guessed_about(
    workspace: Workspace, command: list[str], flags: list[str]
) -> None:
    ended = workspace.leashctl("wrap", "--max-cost", "0", *flags, "--", *command)
    assert re.search("came to leash", ended.stderr) is None


def test_program_that_was_killed_is_not_guessed_about(workspace: Workspace) -> None:
    wrap = workspace.start(LEASHCTL, "wrap", "--run", "a", "--max-cost", "0", "--", "sleep", "600")
    wait_until(lambda: "sleep 600" in workspace.leashctl("ps").stdout, "the run is listed")
    assert workspace.leashctl("kill", "a", "--now").returncode == 0
    _, err = wrap.communicate(timeout=30)
    assert "(kill_switch)" in err
    assert "came to leash" not in err
