"""Tenants and runs of a gateway, with the real daemon and the command line of its operator."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.harness import MODEL, PRICES, WAIT_S, FakeProvider, Gateway, Workspace, wait_until

TEAM_A = "token-of-team-a-Goh4"
TEAM_B = "token-of-team-b-Pai9"
FEW = "token-of-a-few-runs-x"
TOKENS = f"team-a: {TEAM_A}\nteam-b: {TEAM_B}\nfew: {FEW} max-runs=2 max-calls=1\n"
CALL = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "go on"}]}).encode()


@dataclass(frozen=True, slots=True)
class Place:
    workspace: Workspace
    provider: FakeProvider
    gateway: Gateway

    def call(self, token: str = "", run: str = "", path: str = "", **headers: str) -> str:
        """The status of a call and its code, if it has one."""
        named = {"X-Leash-Token": token, "X-Loop-Id": run} | headers
        sent = {name.replace("_", "-"): value for name, value in named.items() if value}
        url = f"{self.gateway.origin}{path}/v1/chat/completions"
        request = urllib.request.Request(url, CALL, {"Content-Type": "application/json"} | sent)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return str(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return f"{refused.code} {json.load(refused)['error']['code']}"


@pytest.fixture
def place(workspace: Workspace, fake_provider: Callable[..., FakeProvider]) -> Callable[..., Place]:
    def opened(*flags: str) -> Place:
        prices, provider = workspace.write("prices.json", PRICES), fake_provider()
        tokens = ("--auth-token-file", str(workspace.write("tokens", TOKENS)))
        return Place(
            workspace,
            provider,
            workspace.gateway(*(flags or tokens), "--prices", str(prices), "--upstream", provider.origin),
        )

    return opened


def test_an_operator_stops_one_tenants_run_and_not_the_others(place: Callable[..., Place]) -> None:
    team = place()
    assert team.call(TEAM_A, "nightly") == team.call(TEAM_B, "nightly") == "200"
    assert team.call(TEAM_A, "hourly") == "200"
    leashctl = team.workspace.leashctl

    unclear = leashctl("kill", "nightly")
    assert unclear.returncode == 1
    assert "name one of team-a/nightly, team-b/nightly" in unclear.stderr
    assert team.call(TEAM_A, "nightly") == team.call(TEAM_B, "nightly") == "200"

    killed = leashctl("kill", "team-a/nightly", "hourly")
    assert killed.stdout == "killed team-a/nightly\nkilled team-a/hourly\n"
    assert team.call(TEAM_A, "nightly") == team.call(TEAM_A, "hourly") == "429 kill_switch"
    assert team.call(TEAM_B, "nightly") == "200"

    assert "team-a/hourly is running" in leashctl("raise", "hourly", "--resume").stdout
    assert team.call(TEAM_A, "hourly") == "200"
    assert json.loads(leashctl("inspect", "hourly", "--json").stdout)["run"] == "team-a/hourly"
    unknown = leashctl("inspect", "weekly")
    assert unknown.returncode == 1
    assert "there is no run weekly" in unknown.stderr
    assert {row["run"] for row in json.loads(leashctl("ps", "--json").stdout)} >= {"team-a/nightly", "team-b/nightly"}
    team.gateway.stop()


def test_a_tenant_has_no_fresh_budget_with_each_fresh_name(place: Callable[..., Place]) -> None:
    few = place()

    assert [few.call(FEW, run) for run in ("one", "one", "two", "two")] == ["200", "429 max_calls"] * 2
    assert few.call(FEW, "three") == "402 too_many_runs"
    assert few.call(path=f"/t/{FEW}/run/four") == "402 too_many_runs"
    assert few.call(FEW, "one") == "429 max_calls"
    assert few.call(TEAM_A, "three") == "200"
    assert few.provider.served() == 3
    few.gateway.stop()


def test_a_client_lowers_its_own_limit_and_raises_none(place: Callable[..., Place]) -> None:
    open_to_all = place("--insecure", "--max-calls", "3")

    lowered = [open_to_all.call(run="careful", X_Leash_Max_Calls="1") for _ in range(2)]
    assert lowered == ["200", "429 max_calls"]
    assert open_to_all.call(run="careful", X_Leash_Max_Calls="9") == "429 max_calls"
    assert [open_to_all.call(run="bold", X_Leash_Max_Calls="9") for _ in range(4)] == ["200"] * 3 + ["429 max_calls"]
    assert [open_to_all.call(run="thrifty", X_Leash_Max_Cost="0.02") for _ in range(2)] == ["200", "429 cost_budget"]
    assert open_to_all.call(run="thrifty", X_Leash_Max_Cost="much") == "400 bad_limit"
    open_to_all.gateway.stop()


def test_a_run_beyond_the_gateways_bound_waits_and_those_before_it_do_not(place: Callable[..., Place]) -> None:
    small = place("--insecure", "--max-runs", "2", "--run-idle", "1s", "--require-run-id")

    assert small.call() == "400 run_id_required"
    assert [small.call(run=run) for run in ("one", "two", "three", "one")] == ["200", "200", "503 too_many_runs", "200"]
    wait_until(lambda: small.call(run="three") == "200", "a run that was idle is closed")
    assert small.workspace.account("three")["calls"] == 1
    small.gateway.stop()


def test_a_token_that_is_taken_out_of_the_file_ends_and_its_tenants_budget_does_not(
    place: Callable[..., Place],
) -> None:
    team = place()
    assert team.call(TEAM_A, "nightly") == "200"
    fresh = "fresh-token-of-team-a"
    team.workspace.write("tokens", f"team-a: {fresh} max-calls=2\n")
    team.gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: team.call(TEAM_B, "nightly") == "401 unauthorized", "the file is read again")
    assert team.call(TEAM_A, "nightly") == "401 unauthorized"

    assert [team.call(fresh, "nightly") for _ in range(2)] == ["200", "429 max_calls"]
    assert team.workspace.account("team-a/nightly")["calls"] == 2
    team.gateway.stop()
