"""Webhooks and hooks as a person gives them to wrap and serve, and what ``leashctl reactions`` shows of them."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import MODEL, PRICES, PYTHON, Workspace, wait_until

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Endpoint:
    """A receiver in a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.posts = workspace.root / "posts.jsonl"
        self.key = workspace.write("key", KEY)
        self.key.chmod(0o600)
        receiver = str(Path(__file__).with_name("receiver.py"))
        process = workspace.start(sys.executable, receiver, "0", str(self.posts), str(self.key))
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def url(self, how: str = "200") -> str:
        return f"http://127.0.0.1:{self.port}/{how}"

    def told(self) -> list[dict[str, Any]]:
        lines = self.posts.read_text().splitlines() if self.posts.exists() else []
        return [json.loads(line) for line in lines]

    def events(self) -> list[str]:
        return [post["told"]["event"] for post in self.told()]


@pytest.fixture
def endpoint(workspace: Workspace) -> Iterator[Endpoint]:
    yield Endpoint(workspace)
    workspace.stop_daemons()


_THREE_CALLS = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": "demo-model", "messages": []}).encode(), {"Content-Type": "application/json"},
)
for _ in range(3):
    urllib.request.urlopen(request).read()
"""


def test_wrap_tells_of_a_stop_with_the_cost_that_it_came_to(workspace: Workspace, endpoint: Endpoint) -> None:
    provider = workspace.fake_provider()
    prices = workspace.write("prices.json", PRICES)
    hooked = workspace.root / "hooked"
    script = workspace.write(
        "hook.sh",
        f"#!/bin/sh\nenv > {hooked}.$LEASH_EVENT.part && mv {hooked}.$LEASH_EVENT.part {hooked}.$LEASH_EVENT\n",
    )
    script.chmod(0o700)
    answer = workspace.leashctl(
        *("wrap", "--run", "nightly-7", "--max-cost", "0.04", "--prices", str(prices)),
        *("--upstream", provider.base_url, "--webhook", endpoint.url(), "--webhook-secret-file", str(endpoint.key)),
        *("--on-event-exec", "./hook.sh 'a b'", "--reactions-db", "old.db"),
        *("--", PYTHON, "-c", _THREE_CALLS),
    )  # fmt: skip

    assert answer.returncode == 3, answer.stderr
    assert "--reactions-db is not needed" in answer.stderr
    wait_until(lambda: "stopped" in endpoint.events(), "the webhook")
    wait_until(lambda: Path(f"{hooked}.stopped").exists(), "the hook")
    [stopped] = [post for post in endpoint.told() if post["told"]["event"] == "stopped"]
    variables = dict(line.partition("=")[::2] for line in Path(f"{hooked}.stopped").read_text().splitlines())
    assert stopped["signed"]
    assert '"used":0.05,"limit":0.04,' in stopped["body"], "dollars with all their digits"
    assert stopped["told"] | {"id": "", "at": ""} == {
        "event": "stopped", "id": "", "run": "nightly-7", "reason": "cost_budget", "used": 0.05, "limit": 0.04,
        "unit": "dollars", "fraction": 1.25, "calls": 2, "token_cost": 0.05, "compute_cost": 0.0, "total_cost": 0.05,
        "at": "",
    }  # fmt: skip
    assert {name: value for name, value in variables.items() if name.startswith("LEASH_")} == {
        "LEASH_EVENT": "stopped", "LEASH_EVENT_ID": stopped["id"], "LEASH_RUN": "nightly-7",
        "LEASH_REASON": "cost_budget", "LEASH_CALLS": "2", "LEASH_TOTAL_COST": "0.05", "LEASH_TOKEN_COST": "0.05",
        "LEASH_COMPUTE_COST": "0.00", "LEASH_USED": "0.05", "LEASH_LIMIT": "0.04", "LEASH_UNIT": "dollars",
        "LEASH_FRACTION": "1.25", "LEASH_AT": stopped["told"]["at"],
    }  # fmt: skip
    assert not {name for name in variables if name.startswith("OPENAI_")}, "no key of the program's"


def test_a_gateway_tells_of_each_of_its_runs(workspace: Workspace, endpoint: Endpoint) -> None:
    provider = workspace.fake_provider()
    gateway = workspace.gateway(
        *("--insecure", "--upstream", provider.base_url, "--max-calls", "1", "--max-cost", "0"),
        *("--webhook", endpoint.url(), "--webhook-secret-file", str(endpoint.key)),
    )
    body = json.dumps({"model": MODEL, "messages": []}).encode()
    for run in ("a", "b"):
        headers = {"Content-Type": "application/json", "X-Loop-Id": run}
        request = urllib.request.Request(f"{gateway.origin}/v1/chat/completions", body, headers)
        urllib.request.urlopen(request).read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request)
    wait_until(lambda: endpoint.events().count("stopped") == 2, "both are told")

    assert {post["told"]["run"] for post in endpoint.told()} == {"a", "b"}
    gateway.stop()


def test_what_cannot_be_told_is_listed_tried_again_and_dropped(workspace: Workspace, endpoint: Endpoint) -> None:
    where = ("--webhook", endpoint.url("500/secret-path"), "--webhook-secret-file", str(endpoint.key))
    for run in ("one", "two"):
        done = workspace.leashctl("wrap", "--run", run, "--max-cost", "0", *where, "--", "true")
        assert done.returncode == 0, done.stderr

    def listed() -> list[dict[str, Any]]:
        answer = workspace.leashctl("reactions", "ls", "--json")
        assert answer.returncode == 0, answer.stderr
        return list(json.loads(answer.stdout))

    wait_until(lambda: [notice["attempts"] > 0 for notice in listed()] == [True, True], "both were tried")
    notices = listed()
    table = workspace.leashctl("reactions", "ls").stdout

    assert {notice["run"] for notice in notices} == {"one", "two"}
    assert {(n["event"], n["target"], n["status"], n["place"]) for n in notices} == {
        ("finished", "webhook", "waiting", f"http://127.0.0.1:{endpoint.port}")
    }
    assert notices[0]["last_error"] == "the endpoint answered 500"
    assert "secret-path" not in table
    assert "finished" in table
    retried = workspace.leashctl("reactions", "retry", "--run", "one")
    assert retried.stdout == "1 notice tried again\n"
    dropped = workspace.leashctl("reactions", "drop", notices[0]["id"][:12])
    assert dropped.stdout == "1 notice dropped\n"
    assert [notice["id"] for notice in listed()] == [notices[1]["id"]]
    unknown = workspace.leashctl("reactions", "drop", "evt_nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert workspace.leashctl("reactions", "drop", "--all").stdout == "1 notice dropped\n"
    assert workspace.leashctl("reactions", "ls").stdout == "everything was told\n"
    assert workspace.leashctl("reactions", "drop").returncode == 2
    assert workspace.leashctl("reactions", "secret").stdout.startswith("whsec_")
    assert workspace.leashctl("verify").returncode == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--webhook", "ftp://x"), "is no webhook"),
        (("--webhook", "https://user:secret@host/"), "takes no user and password"),
        (("--webhook-secret-file", "key"), "goes with --webhook"),
        (("--webhook", "https://host/", "--webhook-secret-file", "nowhere"), "cannot be read"),
        (("--webhook", "https://host/", "--webhook-secret-file", "/etc/hostname"), "a key is whsec_"),
        (("--on-event-exec", "no-such-program"), "is no program that can be run"),
        (("--on-event-exec", "echo 'half"), "is no command"),
        (("--on-event-exec", "true", "--hook-timeout", "0"), "above zero"),
    ],
)
def test_a_mistake_is_named_before_anything_is_started(workspace: Workspace, flags: tuple[str, ...], said: str) -> None:
    answer = workspace.leashctl("wrap", *flags, "--", "true")

    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr


def test_a_variable_is_as_good_as_a_flag(workspace: Workspace, endpoint: Endpoint) -> None:
    environ = {"LEASH_WEBHOOK": endpoint.url(), "LEASH_WEBHOOK_SECRET_FILE": str(endpoint.key), "LEASH_MAX_COST": "0"}
    done = workspace.leashctl("wrap", "--", "sh", "-c", "env | grep ^LEASH_", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "LEASH_MAX_COST=0" in done.stdout
    assert "LEASH_WEBHOOK" not in done.stdout, "it may be a secret, and is no business of the program"
    wait_until(lambda: endpoint.events() == ["finished"], "it is told")

    assert endpoint.told()[0]["signed"]
