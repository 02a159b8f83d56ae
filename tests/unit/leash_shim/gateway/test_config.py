"""The settings reach a worker as they were settled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from leash.governance import Governance
from leash_shim.gateway.config import GatewayConfig
from leash_shim.gateway.tokens import parse_tokens
from tests.unit.leash_shim.gateway.settings import gateway_config


def test_settings_survive_the_way_to_a_worker() -> None:
    tokens, _ = parse_tokens("team: token-Aech7ohTqu1234 max-cost=5 rate=10/1m run=r", source="tokens")
    plain = gateway_config(
        tokens=tokens,
        limits=Governance(max_cost=1, rate=(2, 3), on_blind="warn", strict=True),
        prices='{"m": {"input": 1}}',
        tls_cert="/etc/cert.pem",
    )
    with_ledger = gateway_config(endpoint=replace(plain.endpoint, ledger=Path("/var/lib/leash.db"), origin="db"))

    for config in (plain, with_ledger):
        line = config.encode()
        assert b"\n" not in line
        assert GatewayConfig.decode(line) == config
    assert b"token-Aech7ohTqu1234" not in plain.encode()
