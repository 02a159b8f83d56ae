"""The image, run for real: what is in it, and that a budget outlives whatever happens to its containers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.container.engine import BUILD_S, Engine
from tests.harness import MODEL, PRICES, wait_until

pytestmark = pytest.mark.timeout(BUILD_S)

MEGABYTE = 1_000_000
TOKEN = "a-token-of-team-a-1"
OTHER_TOKEN = "a-token-of-team-b-1"

# Calls, one after the other, on a run: prints each status, and for a stream whether it was whole.
CLIENT = f"""\
import json, sys, urllib.error, urllib.request
url, token, count, streams = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "stream"
body = {{"model": "{MODEL}", "messages": [{{"role": "user", "content": "go on"}}], "stream": streams}}
headers = {{"Content-Type": "application/json", "X-Loop-Id": "nightly"}}
if token:
    headers["X-Leash-Token"] = token
for _ in range(count):
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            print("begun", file=sys.stderr, flush=True)
            text = answer.read().decode()
            print("whole" if text.rstrip().endswith("[DONE]") else answer.status)
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["code"])
"""

# Says who it is, and then whatever should not be there: tools, what package managers keep, what its user could change.
LOOK = """
id -u
for tool in cc gcc c++ ld make strip pip pip3 curl git; do command -v "$tool"; done
find / -xdev '(' -name '*.deb' -o -name '*.whl' -o -path '*/.cache/*' -o -path '/var/lib/apt/lists/*' ')' 2>/dev/null
find /opt /usr /etc -xdev -writable -not -type l 2>/dev/null
python3 -c 'import pip' 2>/dev/null && echo pip
exit 0
"""


@dataclass(slots=True)
class Gateway:
    """A gateway in a container, beside a provider in another."""

    engine: Engine
    container: str
    provider: str
    port: int
    admin_port: int

    def until_ready(self) -> None:
        self.engine.until_said(self.container, "leash: gateway on http://")

    def call(self, count: int = 1, *, token: str = TOKEN, streams: bool = False) -> list[str]:
        """The outcomes of calls that are made from the provider's container, which outlives this one."""
        arguments = (f"http://127.0.0.1:{self.port}", token, str(count), "stream" if streams else "whole")
        done = self.engine("exec", "--interactive", self.provider, "python3", "-", *arguments, text=CLIENT)
        return done.stdout.splitlines()

    def leash(self, *arguments: str, check: bool = True) -> str:
        done = self.engine("exec", self.container, "leash", *arguments, check=check)
        return done.stdout + done.stderr

    def daemon(self) -> list[str]:
        """The events that leashd has logged."""
        log = self.engine("exec", self.container, "cat", "/data/leash.db.log").stdout
        return [line.partition("] ")[2].split()[0] for line in log.splitlines()]

    def again(self) -> None:
        """Starts the container that has ended once more."""
        before = self.engine.logs(self.container).count("leash: gateway on")
        self.engine("start", self.container)
        wait_until(lambda: self.engine.logs(self.container).count("leash: gateway on") > before, "it serves once more")


@pytest.fixture(scope="module")
def built() -> Engine:
    return Engine.found()


@pytest.fixture
def engine(built: Engine) -> Iterator[Engine]:
    try:
        yield built
    finally:
        built.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory as an engine mounts one: the container's user may read what is in it."""
    tmp_path.chmod(0o755)
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    (tmp_path / "tokens").write_text(f"team-a: {TOKEN}\n")
    return tmp_path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def serve(
    engine: Engine, secret: Path, *flags: str, provider: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> Gateway:
    ports = [free_port() for _ in range(3)]
    fake = engine.start("fake-provider", "--listen", f"127.0.0.1:{ports[0]}", *provider)
    engine.until_said(fake, "fake provider:")
    gateway = engine.start(
        *("serve", "--upstream", f"http://127.0.0.1:{ports[0]}/v1", "--prices", "/run/secrets/prices.json"),
        *("--auth-token-file", "/run/secrets/tokens", *flags),
        options=(
            *("--volume", f"{engine.volume()}:/data", "--volume", f"{secret}:/run/secrets:ro"),
            *("--env", f"LEASH_LISTEN=127.0.0.1:{ports[1]}", "--env", f"LEASH_ADMIN=127.0.0.1:{ports[2]}"),
            *options,
        ),
        beside=fake,
    )
    started = Gateway(engine, gateway, fake, ports[1], ports[2])
    started.until_ready()
    return started


def test_the_image_is_small_and_holds_neither_root_nor_tools_nor_caches(engine: Engine) -> None:
    said = engine.run("-c", LOOK, options=("--entrypoint", "sh"))
    size_bytes = int(engine("image", "inspect", "--format", "{{.Size}}", engine.image).stdout)

    assert said.split() == ["10001"]
    assert size_bytes < 200 * MEGABYTE


def test_leash_is_what_it_runs(engine: Engine) -> None:
    assert "leash: stopped run demo-" in engine.run("demo")
    assert "Usage: leash" in engine.run()
    assert "a gateway needs a token" in engine.run("serve", check=False)


def test_a_budget_goes_on_after_a_restart_until_a_person_raises_it(engine: Engine, secret: Path) -> None:
    gateway = serve(engine, secret, "--max-cost", "0.10")

    assert gateway.call(token="") == ["401 unauthorized"]
    assert gateway.call(6) == ["200"] * 4 + ["429 cost_budget"] * 2
    assert gateway.leash("healthcheck") == "ready\n"
    assert [run["run"] for run in json.loads(gateway.leash("ps", "--json"))] == ["team-a/nightly"]

    assert engine.stop(gateway.container) == 0
    gateway.again()

    assert gateway.daemon() == ["ready", "stopping", "stopped", "ready"]
    assert gateway.call() == ["429 cost_budget"]
    gateway.leash("raise", "team-a/nightly", "--max-cost", "0.15")
    assert gateway.call(3) == ["200"] * 2 + ["429 cost_budget"]


def test_a_stream_that_is_under_way_ends_whole_before_the_container_does(engine: Engine, secret: Path) -> None:
    gateway = serve(engine, secret, "--max-calls", "2", provider=("--chunks", "30", "--chunk-delay", "100ms"))
    arguments = (f"http://127.0.0.1:{gateway.port}", TOKEN, "1", "stream")
    script = f"python3 - {' '.join(arguments)} >/tmp/outcome 2>/tmp/begun"
    engine(
        "exec",
        "--detach",
        gateway.provider,
        "sh",
        "-c",
        f"cat >/tmp/client <<'END'\n{CLIENT}END\n{script} </tmp/client",
    )
    wait_until(
        lambda: "begun" in engine("exec", gateway.provider, "cat", "/tmp/begun", check=False).stdout, "it begins"
    )

    assert engine.stop(gateway.container) == 0

    wait_until(lambda: engine("exec", gateway.provider, "cat", "/tmp/outcome").stdout == "whole\n", "it ends")
    gateway.again()
    assert gateway.call(2) == ["200", "429 max_calls"]


def test_what_is_killed_loses_nothing(engine: Engine, secret: Path) -> None:
    gateway = serve(engine, secret, "--max-calls", "4")
    assert gateway.call() == ["200"]

    engine("exec", gateway.container, "sh", "-c", "kill -9 $(head -n 1 /data/leash.db.pid)")
    assert gateway.call() == ["200"]

    engine("kill", "--signal", "KILL", gateway.container)
    gateway.again()
    assert gateway.call(3) == ["200", "200", "429 max_calls"]


def test_tokens_are_read_again_at_a_hangup(engine: Engine, secret: Path) -> None:
    gateway = serve(engine, secret, "--workers", "2")
    assert gateway.call(token=OTHER_TOKEN) == ["401 unauthorized"]

    with (secret / "tokens").open("a") as file:
        file.write(f"team-b: {OTHER_TOKEN}\n")
    engine("kill", "--signal", "HUP", gateway.container)
    engine.until_said(gateway.container, "reloaded the tokens")

    assert gateway.call(token=OTHER_TOKEN) == ["200"]
    assert gateway.call(token=TOKEN) == ["200"]


def test_it_needs_no_capability_and_nothing_to_write_to_but_its_volume_and_tmp(engine: Engine, secret: Path) -> None:
    strict = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    gateway = serve(engine, secret, "--max-calls", "1", options=strict)

    assert gateway.call(2) == ["200", "429 max_calls"]
    assert engine.stop(gateway.container) == 0
