"""The agent itself against its own budget: it runs as its user, and may do what that user may (docs/security.md)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.threats.doors import wrapped
from tests.e2e.threats.recorder import Recorder, whole
from tests.harness import LEASHCTL, MODEL, PRICES, PYTHON, Workspace

# What the programs below have in common: a call at leash's address, or at any other, and what came of it.
CALL = """\
import json, os, pathlib, signal, subprocess, sys, time, urllib.error, urllib.request

def call(base=os.environ["OPENAI_BASE_URL"], body=b'{"model":"demo-model","max_tokens":5,"messages":[]}', **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(base + "/chat/completions", body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]["code"]
    except (urllib.error.URLError, ConnectionError):
        return "nobody there"
"""


@pytest.fixture
def provider() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


class Agent:
    """An agent whose program may do anything, in a run of two calls."""

    def __init__(self, workspace: Workspace, provider: Recorder) -> None:
        self.workspace = workspace
        self.provider = provider

    def start(
        self, program: str, *arguments: str, limits: tuple[str, ...] = ("--max-calls", "2")
    ) -> subprocess.Popen[str]:
        path = self.workspace.write("agent.py", CALL + program)
        flags = limits if "--max-cost" in limits else ("--max-cost", "0", *limits)
        return self.workspace.start(
            *(LEASHCTL, "wrap", "--run", "r", *flags, "--upstream", f"{self.provider.origin}/v1", "--"),
            *(PYTHON, str(path), *arguments),
        )

    def run(self, program: str, *arguments: str, limits: tuple[str, ...] = ("--max-calls", "2")) -> list[Any]:
        """What the program has printed as JSON, once it has ended."""
        process = self.start(program, *arguments, limits=limits)
        out, err = process.communicate(timeout=90)
        assert out, err
        told: list[Any] = json.loads(out)
        return told

    def account(self) -> dict[str, Any]:
        return self.workspace.account("r")

    def served(self) -> int:
        return len(self.provider.requests())


@pytest.fixture
def agent(workspace: Workspace, provider: Recorder) -> Agent:
    return Agent(workspace, provider)


def test_a_call_past_leash_is_not_seen(agent: Agent) -> None:
    """Not defended: whoever has the key and a way to the provider needs no leash."""
    told = agent.run("print(json.dumps([call(sys.argv[1]) for _ in range(3)]))", f"{agent.provider.origin}/v1")
    assert told == [200, 200, 200]
    assert agent.served() == 3
    assert agent.account()["calls"] == 0


def test_a_raise_of_its_own_limit_is_in_the_journal(agent: Agent) -> None:
    """Not defended in user mode: the control socket is the user's own. What it did cannot be hidden."""
    told = agent.run(
        "told = [call() for _ in range(3)]\n"
        f"raised = subprocess.run([{LEASHCTL!r}, 'raise', 'r', '--max-calls', '3'], capture_output=True).returncode\n"
        "print(json.dumps([*told, raised, call(), call()]))"
    )
    assert told == [200, 200, "max_calls", 0, 200, "max_calls"]
    entries = agent.account()["entries"]
    [raised] = [entry for entry in entries if entry["kind"] == "raised"]
    assert raised["actor_uid"] == os.getuid()
    assert raised["limits"]["max_calls"] == 3
    stopped = next(entry for entry in entries if entry["kind"] == "stopped")
    assert raised["seq"] > stopped["seq"]


def test_a_run_opened_once_more_has_no_other_budget(agent: Agent) -> None:
    told = agent.run(
        "told = [call(), call(), call()]\n"
        f"again = [{LEASHCTL!r}, 'wrap', '--run', 'r', '--max-cost', '0', '--max-calls', '9', '--', 'echo', 'ran']\n"
        "again = subprocess.run(again, capture_output=True, text=True)\n"
        "print(json.dumps([*told, again.stdout, 'raise' in again.stderr, call()]))"
    )
    assert told == [200, 200, "max_calls", "", True, "max_calls"]
    assert agent.served() == 2


def test_a_new_run_below_the_old_one_counts_in_both(agent: Agent) -> None:
    """Not defended: a budget is a run's, and the user may open runs. But this address leads through the old one."""
    told = agent.run(
        "if len(sys.argv) > 1: print(json.dumps([call(), call(), call()])); sys.exit()\n"
        f"again = [{LEASHCTL!r}, 'wrap', '--run', 'new', '--max-cost', '0', '--max-calls', '9', '--']\n"
        "print(subprocess.run([*again, sys.executable, sys.argv[0], 'inner'], capture_output=True, text=True).stdout)"
    )
    assert told == [200, 200, "max_calls"]
    assert agent.account()["calls"] == 2
    assert agent.workspace.account("new")["calls"] == 3  # its third was answered with the refusal of the old one


def test_headers_of_leash_choose_neither_another_run_nor_other_limits(agent: Agent) -> None:
    told = agent.run(
        "forged = dict(X_Loop_Id='other', X_Leash_Token='t', X_Leash_Max_Calls='9', X_Leash_Max_Cost='9')\n"
        "print(json.dumps([call(**forged) for _ in range(3)]))"
    )
    assert told == [200, 200, "max_calls"]
    assert agent.account()["calls"] == 2
    assert agent.workspace.leashctl("inspect", "other").returncode != 0
    assert not [name for request in agent.provider.requests() for name, _ in request.headers if "leash" in name]


def test_whoever_kills_its_shim_has_nobody_to_call(agent: Agent) -> None:
    process = agent.start(
        "told = [call()]\n"
        "os.kill(os.getppid(), signal.SIGKILL)\n"
        "while os.getppid() == int(sys.argv[1]): time.sleep(0.01)\n"
        "pathlib.Path('told').write_text(json.dumps([*told, call(), call()]))",
        str(os.getpid()),
    )
    process.communicate(timeout=60)
    told = agent.workspace.root / "told"
    assert json.loads(told.read_text()) == [200, "nobody there", "nobody there"]
    assert agent.served() == 1
    # What it had left is what it has: the run goes on where it was, be the first call settled or left unresolved.
    served, refused = agent.run("print(json.dumps([call(), call()]))")
    assert served == 200
    assert refused in ("max_calls", "unresolved_calls")
    assert agent.served() == 2


def test_whoever_kills_the_daemon_has_the_budget_as_it_was(agent: Agent) -> None:
    told = agent.run(
        "told = [call()]\n"
        "[pid] = pathlib.Path(os.environ['XDG_STATE_HOME']).rglob('*.pid')\n"
        "for _ in range(3):\n"
        "    os.kill(int(pid.read_text().split()[0]), signal.SIGKILL)\n"
        "    for _ in range(100):\n"
        "        told.append(call())\n"
        "        if told[-1] != 'leash_unavailable': break\n"
        "        time.sleep(0.1)\n"
        "print(json.dumps([each for each in told if each != 'leash_unavailable']))"
    )
    assert told == [200, 200, "max_calls", "max_calls"]
    assert agent.served() == 2
    assert agent.account()["calls"] == 2


def test_whoever_removes_the_sockets_has_the_budget_as_it_was(agent: Agent) -> None:
    told = agent.run(
        "told = [call()]\n"
        "for path in pathlib.Path(os.environ['XDG_RUNTIME_DIR']).rglob('*.sock'): path.unlink()\n"
        "for _ in range(200):\n"
        "    told.append(call())\n"
        "    if told[-1] == 'max_calls': break\n"
        "    time.sleep(0.1)\n"
        "print(json.dumps([each for each in told if each != 'leash_unavailable']))"
    )
    assert told == [200, 200, "max_calls"]
    assert agent.served() == 2


def test_a_request_with_two_models_costs_what_the_answer_says(agent: Agent) -> None:
    prices = agent.workspace.write("prices.json", PRICES | {"cheap": {"input": 0.001, "output": 0.001}})
    agent.provider.answer = whole()  # its model is the dear one
    bodies = (
        f'{{"model":"{MODEL}","messages":[],"max_tokens":500,"model":"cheap"}}',
        f'{{"model":"cheap","messages":[],"max_tokens":500,"model":"{MODEL}"}}',
        f'{{"Model":"{MODEL}","messages":[],"max_tokens":500,"model":"cheap"}}',
        f'{{"m\\u006fdel":"{MODEL}","messages":[],"max_tokens":500,"model":"cheap"}}',
    )
    told = agent.run(
        "print(json.dumps([call(body=body.encode()) for body in sys.argv[1:]]))",
        *bodies,
        limits=("--max-cost", "1", "--prices", str(prices)),
    )
    assert told == [200] * len(bodies)
    assert agent.account()["token_cost"] == pytest.approx(0.025 * len(bodies))


def test_a_key_is_only_what_the_program_sends() -> None:
    with wrapped() as door:
        keyless = b"".join(
            line + b"\r\n" for line in door.request().split(b"\r\n") if not line.startswith(b"Authorization")
        )
        assert door.ask(keyless.removesuffix(b"\r\n")).status == 200
        [request] = door.provider.requests()
        assert request.values("authorization") == []
        files = [path for path in door.workspace.root.rglob("*") if path.is_file()]
        assert not [path for path in files if door.workspace.environ["OPENAI_API_KEY"].encode() in path.read_bytes()]
