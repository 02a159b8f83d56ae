"""Many clients on many workers, one run: a limit is met exactly, since all of them share the daemon's one truth."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable

from tests.harness import MODEL, PYTHON, FakeProvider, Workspace

WORKERS = 4
CLIENTS = 8
ATTEMPTS_EACH = 625
LIMIT = 1000

# One client process: sys.argv[2] requests to the URL of sys.argv[1], eight at a time, each connection kept.
CLIENT = f"""\
import asyncio
import collections
import json
import sys

import aiohttp

BODY = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": "go on"}}]}}


async def agent(session, left, outcomes):
    while left:
        left.pop()
        async with session.post(sys.argv[1], json=BODY, headers={{"X-Loop-Id": "shared"}}) as answer:
            content = await answer.json()
            outcomes[f"{{answer.status}} {{content.get('error', {{}}).get('code', '')}}".strip()] += 1


async def main():
    left, outcomes = [None] * int(sys.argv[2]), collections.Counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(agent(session, left, outcomes) for _ in range(8)))
    print(json.dumps(outcomes))


asyncio.run(main())
"""


def test_of_five_thousand_attempts_exactly_a_thousand_are_forwarded(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = fake_provider()
    gateway = workspace.gateway(
        *("--insecure", "--workers", str(WORKERS), "--max-cost", "0", "--max-calls", str(LIMIT)),
        *("--upstream", provider.origin),
    )
    program = str(workspace.write("client.py", CLIENT))
    counted: Counter[str] = Counter()

    def client() -> None:
        done = workspace.run(
            PYTHON, program, f"{gateway.origin}/v1/chat/completions", str(ATTEMPTS_EACH), timeout_s=100
        )
        assert done.returncode == 0, done.stderr
        counted.update(json.loads(done.stdout))

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()

    assert counted == {"200": LIMIT, "429 max_calls": CLIENTS * ATTEMPTS_EACH - LIMIT}
    assert provider.served() == LIMIT
    assert workspace.account("shared")["calls"] == LIMIT
    assert len(gateway.workers()) == WORKERS
    gateway.stop()
