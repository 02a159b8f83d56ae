"""A host with leash as its services, under a real systemd: users, crashes, hangs, ends, and what the journal has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.harness import PRICES, WAIT_S, wait_until
from tests.systemd.machine import LEASHCTL, PYTHON, Machine

PROVIDER, SLOW_PROVIDER = "127.0.0.1:9101", "127.0.0.1:9102"

# Prints a line for each call: its status, or leash's own reason.
AGENT = """\
import json, os, sys, urllib.error, urllib.request
url, count, *rest = sys.argv[1:]
headers = {"Content-Type": "application/json", **dict(header.split("=", 1) for header in rest)}
body = json.dumps({"model": "demo-model", "messages": [{"role": "user", "content": "hi"}]}).encode()
for _ in range(int(count)):
    try:
        with urllib.request.urlopen(urllib.request.Request(os.path.expandvars(url), body, headers)) as answer:
            answer.read()
            print(answer.status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["code"], flush=True)
"""
WRAPPED = "$OPENAI_BASE_URL/chat/completions"

GATEWAY_ENV = """\
LEASH_LISTEN=127.0.0.1:8088
LEASH_MAX_CALLS=3
LEASH_UPSTREAM=http://{}
"""
SHIM_ENV = f"""\
LEASH_LISTEN=127.0.0.1:8101
LEASH_AUTH_TOKEN=a-token-of-the-shim-alone
LEASH_MAX_CALLS=2
LEASH_UPSTREAM=http://{PROVIDER}
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine whose leashd runs, with alice in group leash, carol in both groups, and bob in none.

    ``tokens`` is the file of the gateway's tokens as it was installed.
    """

    machine: Machine
    tokens: str

    def leashctl(self, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run(LEASHCTL, *arguments, user=user, check=False)

    def wrap(
        self, user: str, run: str, *, calls: int, upstream: str, flags: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        wrapped = (LEASHCTL, "wrap", "--run", run, "--upstream", f"http://{upstream}", *flags)
        return self.machine.start(*wrapped, "--", PYTHON, "/opt/agent.py", WRAPPED, str(calls), user=user)

    def set_up_gateway(self, tokens: str, upstream: str) -> None:
        """Writes its settings, which it takes when it is started again."""
        self.machine.write("/etc/leash/gateway.tokens", tokens, 0o600)
        self.machine.write("/etc/leash/gateway.env", GATEWAY_ENV.format(upstream), 0o600)

    def row(self, run: str) -> dict[str, object]:
        """The run as ``ps --json`` has it for an administrator; empty where there is none."""
        listed = self.leashctl("carol", "ps", "--all", "--json")
        rows = json.loads(listed.stdout) if listed.returncode == 0 else []
        return next((row for row in rows if row["run"] == run), {})

    def until_open(self, run: str) -> None:
        """Waits until a call of the run is at the provider."""
        wait_until(lambda: self.row(run).get("open_calls") == 1, f"a call of {run} is open")

    def main_pid(self, unit: str = "leashd") -> str:
        return self.machine.property(unit, "MainPID")

    def until_restarted(self, before: str) -> None:
        def is_back() -> bool:
            return self.machine.property("leashd", "ActiveState") == "active" and self.main_pid() not in ("0", before)

        wait_until(is_back, "systemd has restarted leashd")


@pytest.fixture(scope="module")
def host(machine: Machine) -> Host:
    machine.run(LEASHCTL, "install-systemd")
    for user, groups in (("alice", "leash"), ("bob", ""), ("carol", "leash,leash-admin")):
        machine.run("useradd", "--create-home", *(("--groups", groups) if groups else ()), user)
    machine.write("/opt/agent.py", AGENT)
    machine.write("/etc/leash/prices.json", json.dumps(PRICES))
    machine.start(LEASHCTL, "fake-provider", "--listen", PROVIDER)
    machine.start(LEASHCTL, "fake-provider", "--listen", SLOW_PROVIDER, "--delay", "7s")
    machine.systemctl("enable", "--now", "leashd")
    return Host(machine, machine.read("/etc/leash/gateway.tokens"))


def test_the_daemon_is_started_as_the_unit_says(host: Host) -> None:
    show = host.machine.property
    assert show("leashd", "ActiveState") == "active"
    assert "connected, " in show("leashd", "StatusText")
    assert host.machine.run("stat", "-c", "%a %U %G", "/var/lib/leash", "/run/leash").stdout.splitlines() == [
        "700 leash leash",
        "755 leash leash",
    ]
    sockets = [f"/run/leash/{name}.sock" for name in ("leashd", "control", "ticket")]
    assert host.machine.run("stat", "-c", "%a %G", *sockets).stdout.splitlines() == [
        "660 leash",
        "660 leash-admin",
        "666 leash",
    ]
    status = host.machine.read(f"/proc/{host.main_pid()}/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status
    assert show("leashd", "LimitNOFILE") == "65536"


def test_a_member_of_the_group_works_and_the_journal_tells_of_it(host: Host) -> None:
    said, errors = host.wrap("alice", "nightly", calls=4, upstream=PROVIDER, flags=("--max-calls", "2")).communicate(
        timeout=WAIT_S
    )
    assert said.splitlines() == ["200", "200", "429 max_calls", "429 max_calls"]
    assert "stopped run alice/nightly after 2 calls" in errors

    listed = host.leashctl("alice", "ps", "--all")
    assert listed.returncode == 0
    assert "alice/nightly" in listed.stdout

    def stops() -> list[dict[str, object]]:
        records = host.machine.journal("--unit=leashd", "LEASH_RUN=nightly")
        return [record for record in records if record["LEASH_EVENT"] == "run_stopped"]

    wait_until(lambda: len(stops()) == 1, "the journal has the stop")
    [record] = stops()
    assert record["LEASH_REASON"] == "max_calls"
    assert record["LEASH_RUN"] == ["alice/nightly", "nightly"]
    assert record["_SYSTEMD_UNIT"] == "leashd.service"
    assert record["PRIORITY"] == "4"


@pytest.mark.parametrize("command", [("ps",), ("wrap", "--max-calls", "2", "--", "true"), ("kill", "nightly")])
def test_who_is_in_no_group_is_refused_clearly(host: Host, command: tuple[str, ...]) -> None:
    refused = host.leashctl("bob", *command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "may be opened by group leash" in refused.stderr
    assert "usermod -aG leash" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_only_an_administrator_raises_and_kills(host: Host) -> None:
    host.wrap("alice", "weekly", calls=1, upstream=PROVIDER, flags=("--max-calls", "1")).communicate(timeout=WAIT_S)

    for command in (("raise", "weekly", "--max-calls", "9"), ("kill", "weekly")):
        refused = host.leashctl("alice", *command)
        assert refused.returncode == 1
        assert "leash-admin" in refused.stderr
        allowed = host.leashctl("carol", *command)
        assert allowed.returncode == 0, allowed.stderr
    assert host.row("alice/weekly")["status"] == "killed"


def _kill(host: Host) -> None:
    before = host.main_pid()
    host.machine.run("kill", "-KILL", before)
    host.until_restarted(before)
    assert host.machine.property("leashd", "NRestarts") != "0"


def _restart(host: Host) -> None:
    host.machine.systemctl("restart", "leashd")


def _stop_and_start(host: Host) -> None:
    host.machine.systemctl("stop", "leashd")
    assert host.machine.property("leashd", "Result") == "success"
    # Whoever comes meanwhile is told, and gets no daemon of his own in its place.
    told = host.leashctl("alice", "wrap", "--", "true")
    assert told.returncode == 1
    assert "systemctl start leashd" in told.stderr
    host.machine.systemctl("start", "leashd")


@pytest.mark.parametrize("interruption", [_kill, pytest.param(_restart, marks=pytest.mark.long), _stop_and_start])
def test_a_call_in_flight_outlives_the_daemon(host: Host, interruption: Callable[[Host], None]) -> None:
    run = interruption.__name__.strip("_")
    wrapped = host.wrap("alice", run, calls=1, upstream=SLOW_PROVIDER, flags=("--max-calls", "9"))
    host.until_open(f"alice/{run}")

    interruption(host)

    said, errors = wrapped.communicate(timeout=WAIT_S)
    assert said == "200\n", errors
    row = host.row(f"alice/{run}")
    assert (row["calls"], row["unresolved_calls"], row["status"]) == (1, 0, "finished")
    assert row["total_cost"] == 0.025


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_started_again(host: Host) -> None:
    drop_in = "/run/systemd/system/leashd.service.d/watchdog.conf"
    host.machine.write(drop_in, "[Service]\nWatchdogSec=4s\n")
    host.machine.systemctl("daemon-reload")
    host.machine.systemctl("restart", "leashd")
    before = host.main_pid()

    host.machine.run("kill", "-STOP", before)

    host.until_restarted(before)
    records = host.machine.journal("--unit=leashd", "_PID=1")
    assert any("Watchdog timeout" in str(record["MESSAGE"]) for record in records)
    told = host.machine.journal("--unit=leashd", f"_PID={before}")
    assert any("Fatal Python error: Aborted" in str(record["MESSAGE"]) for record in told)
    assert host.leashctl("alice", "ps", "--all").returncode == 0
    host.machine.run("rm", drop_in)
    host.machine.systemctl("daemon-reload")
    host.machine.systemctl("restart", "leashd")


def test_a_daemon_whose_socket_was_removed_is_back_with_a_new_one(host: Host) -> None:
    before = host.main_pid()
    host.machine.run("rm", "/run/leash/leashd.sock")
    host.until_restarted(before)
    assert host.leashctl("alice", "ps", "--all").returncode == 0


def test_settings_are_reloaded_and_those_that_are_wrong_change_nothing(host: Host) -> None:
    before = host.machine.read("/etc/leash/leashd.toml")
    host.machine.write("/etc/leash/leashd.toml", "[limits]\nmax_calls = 1\n")
    host.machine.systemctl("reload", "leashd")
    assert host.machine.property("leashd", "ActiveState") == "active"
    host.machine.write("/etc/leash/leashd.toml", "[limits]\nmax_call = 7\n")
    host.machine.systemctl("reload", "leashd")
    said, _ = host.wrap("alice", "configured", calls=2, upstream=PROVIDER).communicate(timeout=WAIT_S)

    assert said.splitlines() == ["200", "429 max_calls"]
    refused = host.machine.journal("--unit=leashd", "LEASH_EVENT=config_refused")
    assert any("did you mean max_calls?" in str(record["MESSAGE"]) for record in refused)
    host.machine.write("/etc/leash/leashd.toml", before)
    host.machine.systemctl("reload", "leashd")


def test_the_gateway_serves_and_ends_its_calls_before_itself(host: Host) -> None:
    machine = host.machine
    host.set_up_gateway(host.tokens, SLOW_PROVIDER)
    machine.systemctl("enable", "leash-gateway")
    machine.systemctl("restart", "leash-gateway")
    assert machine.property("leash-gateway", "StatusText").startswith("gateway on http://127.0.0.1:8088")
    token = host.tokens.rpartition("first: ")[2].strip()
    ask = (PYTHON, "/opt/agent.py", "http://127.0.0.1:8088/v1/chat/completions", "1", "X-Loop-Id=shared")
    assert machine.run(*ask, user="bob").stdout == "401 unauthorized\n"

    asked = machine.start(*ask, f"X-Leash-Token={token}", user="bob")
    host.until_open("first/shared")
    machine.systemctl("stop", "leash-gateway")

    said, errors = asked.communicate(timeout=WAIT_S)
    assert said == "200\n", errors
    assert machine.property("leash-gateway", "Result") == "success"
    row = host.row("first/shared")
    assert (row["calls"], row["open_calls"], row["unresolved_calls"]) == (1, 0, 0)


def test_a_new_token_takes_a_restart_and_a_reload_says_so(host: Host) -> None:
    machine = host.machine
    host.set_up_gateway(host.tokens, PROVIDER)
    machine.systemctl("restart", "leash-gateway")
    host.set_up_gateway("second: the-token-that-replaces-it\n", PROVIDER)
    ask = (PYTHON, "/opt/agent.py", "http://127.0.0.1:8088/v1/models", "1", "X-Leash-Token=the-token-that-replaces-it")

    machine.systemctl("reload", "leash-gateway")
    told = machine.journal("--unit=leash-gateway")
    assert any("`systemctl restart` takes a new one" in str(record["MESSAGE"]) for record in told)
    assert machine.run(*ask, user="bob").stdout == "401 unauthorized\n"

    machine.systemctl("restart", "leash-gateway")
    assert machine.run(*ask, user="bob").stdout != "401 unauthorized\n"

    # Where the gateway reads the file itself, a reload is enough.
    machine.run("chgrp", "leash-gateway", "/etc/leash/gateway.tokens")
    machine.run("chmod", "640", "/etc/leash/gateway.tokens")
    machine.run("sh", "-c", "echo LEASH_AUTH_TOKEN_FILE=/etc/leash/gateway.tokens >>/etc/leash/gateway.env")
    machine.systemctl("restart", "leash-gateway")
    machine.run("sh", "-c", "echo third: the-token-of-another-day >>/etc/leash/gateway.tokens")
    machine.systemctl("reload", "leash-gateway")
    another = (*ask[:-1], "X-Leash-Token=the-token-of-another-day")
    wait_until(
        lambda: machine.run(*another, user="bob").stdout != "401 unauthorized\n", "the gateway has the new token"
    )


def test_with_its_socket_the_gateway_is_restarted_while_its_clients_wait(host: Host) -> None:
    machine = host.machine
    host.set_up_gateway("third: the-token-of-who-waits\n", PROVIDER)
    machine.systemctl("stop", "leash-gateway")
    machine.systemctl("start", "leash-gateway.socket")
    ask = (PYTHON, "/opt/agent.py", "http://127.0.0.1:8088/v1/chat/completions", "1", "X-Loop-Id=waiting")

    # Nothing runs yet: the connection starts the gateway.
    asked = machine.start(*ask, "X-Leash-Token=the-token-of-who-waits", user="bob")
    said, errors = asked.communicate(timeout=WAIT_S)

    assert said == "200\n", errors
    assert machine.property("leash-gateway", "ActiveState") == "active"
    machine.systemctl("stop", "leash-gateway.socket", "leash-gateway.service")


def test_a_shim_serves_the_one_run_that_it_is_named_after(host: Host) -> None:
    machine = host.machine
    without = machine.systemctl("start", "leash-shim@nobody", check=False)
    assert without.returncode != 0
    machine.write("/etc/leash/invoices.env", SHIM_ENV, 0o600)
    machine.systemctl("enable", "--now", "leash-shim@invoices")
    ask = (PYTHON, "/opt/agent.py", "http://127.0.0.1:8101/v1/chat/completions")
    token = "X-Leash-Token=a-token-of-the-shim-alone"

    assert machine.run(*ask, "1", user="bob").stdout == "401 unauthorized\n"
    assert machine.run(*ask, "1", token, "X-Loop-Id=another", user="bob").stdout == "401 unauthorized\n"
    assert machine.run(*ask, "3", token, user="bob").stdout.splitlines() == ["200", "200", "429 max_calls"]
    row = host.row("leash-shim/invoices")
    assert (row["calls"], row["status"], row["reason"]) == (2, "stopped", "max_calls")
    machine.systemctl("stop", "leash-shim@invoices")


def test_what_was_recorded_in_all_of_this_adds_up(host: Host) -> None:
    verified = host.leashctl("carol", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    copied = host.leashctl("carol", "backup", "/home/carol/copy.db")
    assert copied.returncode == 0, copied.stderr
    pruned = host.leashctl("carol", "prune", "--older-than", "0s")
    assert pruned.returncode == 0, pruned.stderr
