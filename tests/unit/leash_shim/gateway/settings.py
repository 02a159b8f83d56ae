"""The settings of a gateway, for the tests of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leash.client.paths import Endpoint
from leash.governance import Governance
from leash_shim.gateway.config import GatewayConfig


def gateway_config(**changes: Any) -> GatewayConfig:
    """Settings of a gateway that anybody may use, but for ``changes``."""
    settings: dict[str, Any] = {
        "endpoint": Endpoint(Path("/run/leashd.sock"), Path("/run/control.sock"), None, "socket"),
        "client_version": "1.2.3",
        "upstreams": {},
        "limits": Governance(),
        "defaults": Governance(),
        "tokens": None,
        "require_run_id": False,
        "max_open_runs": 0,
        "run_idle_s": 600.0,
        "inject": True,
        "refusal_status": None,
        "max_body_bytes": 1 << 20,
        "max_connections": 100,
        "upstream_header_timeout_s": 600.0,
        "header_timeout_s": 30.0,
        "idle_timeout_s": 600.0,
        "shutdown_timeout_s": 30.0,
    }
    return GatewayConfig(**settings | changes)
