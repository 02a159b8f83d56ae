"""The official Python clients through one gateway: tenants with runs of the same name have budgets of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import PRICES, Gateway, Workspace
from tests.sdk import environments

TOKENS = """\
team-a: token-of-the-first-team
team-b: token-of-the-second-team
"""

# A call costs 2.5 cents: six of them are 15 cents, and there are three clients.
BUDGET = "0.15"
CALLS_EACH = "4"
ANSWERED = 6


@pytest.fixture(scope="module")
def place() -> Iterator[Workspace]:
    environments.build_all()
    workspace = Workspace.create()
    try:
        yield workspace
    finally:
        workspace.close()


@pytest.mark.timeout(300)  # it installs and imports three SDKs, one process each
def test_two_tenants_with_one_run_name_have_separate_budgets(place: Workspace) -> None:
    provider = place.fake_provider()
    prices, tokens = place.write("prices.json", PRICES), place.write("tokens", TOKENS)
    gateway = place.gateway(
        *("--auth-token-file", str(tokens), "--prices", str(prices), "--max-cost", BUDGET),
        *("--upstream", provider.origin, "--workers", "2"),
    )

    first = _ask(place, gateway, "token-of-the-first-team")
    assert [name for name, _ in _answered(first)] == ["with_openai", "with_anthropic", "with_gemini"] * 2
    assert all("team-a/nightly: cost_budget" in sentence for _, sentence in _refused(first))
    assert {name for name, _ in _refused(first)} == {"with_openai", "with_anthropic", "with_gemini"}

    # The first tenant's run is stopped; the second's of the same name has not even begun.
    second = _ask(place, gateway, "token-of-the-second-team")
    assert len(_answered(second)) == ANSWERED
    assert all("team-b/nightly: cost_budget" in sentence for _, sentence in _refused(second))
    assert not any("team-a" in json.dumps(told) for told in second)

    assert provider.served() == 2 * ANSWERED
    for tenant in ("team-a", "team-b"):
        account = place.account(f"{tenant}/nightly")
        assert (account["calls"], account["total_cost"], account["reason"]) == (ANSWERED, 0.15, "cost_budget")

    # Nor does a tenant get at another's run by its full name.
    third = _refused(_ask(place, gateway, "token-of-the-second-team", "team-a/nightly"))
    assert len(third) == 3 * int(CALLS_EACH)
    assert all("X-Loop-Id" in sentence and "has a slash" in sentence for _, sentence in third)
    assert provider.served() == 2 * ANSWERED
    gateway.stop()


def _ask(place: Workspace, gateway: Gateway, token: str, run: str = "nightly") -> list[dict[str, Any]]:
    command = environments.command("shared", "through_a_gateway.py")
    ended = place.run(*command, gateway.origin, token, run, CALLS_EACH, timeout_s=100)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def _answered(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["client"], line["answered"]) for line in told if "answered" in line]


def _refused(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["client"], line["refused"]) for line in told if "refused" in line]
