"""Runs a client's program under ``leashctl wrap`` and tells what it was answered, what it sent and what it showed.

Everything but the provider is real: the daemon, the shim, and the client with the settings that it comes with. The
requests are counted by ``relay.py``, which stands between the client and the shim.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.harness import PYTHON, FakeProvider, Workspace
from tests.sdk import environments
from tests.sdk.environments import HERE
from tests.sdk.matrix import CLIENTS, Client

# Importing the largest client takes five seconds on a cold disk, and the longest back-off here is as long.
_PATIENCE_S = 100.0

# No key is checked, and nothing may leave this machine: neither traces nor the question for a newer price list.
_ENVIRON = {
    "ANTHROPIC_API_KEY": "nothing-is-spent",
    "GEMINI_API_KEY": "nothing-is-spent",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}

_NO_BUDGET = ("--max-cost", "0")

# The first answer fills the window, and the refusal says how long there is no room. Three seconds are more than any
# client needs from one call to the next.
_TRANSIENT = (*_NO_BUDGET, "--max-calls", "0", "--rate", "1/3s")
_FINAL = (*_NO_BUDGET, "--max-calls", "1")


@dataclass(frozen=True, slots=True)
class Final:
    """What a final refusal came to: of a call for a whole answer, and of one for a stream.

    ``sentence`` is leash's own, ``whole`` and ``stream`` what was shown.
    """

    sentence: str
    whole: str
    stream: str
    whole_statuses: tuple[int, ...]
    stream_statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transient:
    """What a transient refusal came to: the statuses of its call, and the answer or what was shown instead."""

    sentence: str
    statuses: tuple[int, ...]
    answered: str
    refused: str


@dataclass(slots=True)
class Bench:
    """A daemon, a provider, and what is measured with them: each client once, two at a time."""

    workspace: Workspace
    provider: FakeProvider
    _finals: dict[Client, Future[Final]] = field(default_factory=dict)
    _transients: dict[Client, Future[Transient]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Bench]:
        environments.build_all()
        workspace = Workspace.create()
        workspace.environ |= _ENVIRON
        # Most of a client's time is spent in waiting: for its disk, and for a window of tokens to pass.
        workers = ThreadPoolExecutor(max_workers=2)
        try:
            bench = cls(workspace, workspace.fake_provider())
            for client in CLIENTS:
                bench._finals[client] = workers.submit(bench._final, client)
                bench._transients[client] = workers.submit(bench._transient, client)
            yield bench
        finally:
            workers.shutdown(cancel_futures=True)
            workspace.close()

    def final(self, client: Client) -> Final:
        """One call is answered, then one for a whole answer and one for a stream are refused."""
        return self._finals[client].result()

    def transient(self, client: Client) -> Transient:
        """A call for a stream is answered, and the next one refused for as long as the window is full."""
        return self._transients[client].result()

    def _final(self, client: Client) -> Final:
        told, requests = self._run(client, client.run, _FINAL, "whole", "whole", "stream")
        assert told[0]["answered"], told
        assert requests[0]["status"] == 200, requests
        return Final(
            f"leash stopped run {client.run}: max_calls (1 of 1 call)",
            told[1]["refused"],
            told[2]["refused"],
            tuple(request["status"] for request in requests[1:] if not request["streamed"]),
            tuple(request["status"] for request in requests[1:] if request["streamed"]),
        )

    def _transient(self, client: Client) -> Transient:
        run = f"{client.run}-transient"
        told, requests = self._run(client, run, _TRANSIENT, "stream", "whole")
        assert told[0]["answered"], told
        return Transient(
            f"leash refused a call of run {run}: rate_limit",
            tuple(request["status"] for request in requests if not request["streamed"]),
            told[1].get("answered", ""),
            told[1].get("refused", ""),
        )

    def _run(
        self, client: Client, run: str, limits: tuple[str, ...], *words: str
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        log = self.workspace.root / f"{run}.log"
        ended = self.workspace.leashctl(
            *("wrap", "--run", run, *limits, "--upstream", self.provider.origin, "--"),
            *(PYTHON, str(HERE / "relay.py"), str(log)),
            *environments.command(client.environment, client.program),
            *words,
            timeout_s=_PATIENCE_S,
        )
        assert ended.returncode in (0, 3), ended.stderr
        # LiteLLM prints advice beside.
        told = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        assert len(told) == len(words), ended.stdout + ended.stderr
        return told, [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
