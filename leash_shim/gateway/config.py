"""What a gateway is told. The supervisor settles it, and hands it to its workers as JSON, at start and on a reload.

The rule: everything in it is valid, and there is no token in it, only digests of tokens.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from leash.client.paths import Endpoint
from leash.governance import Governance
from leash.reactions import Reactions
from leash_shim.gateway.tokens import TokenBook

# The variable by which workers are told that metrics are wanted, and where they go; prometheus_client's own.
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one gateway; a reload replaces them all, but what the sockets and the daemon are.

    ``limits`` are those that were given, ``defaults`` those of a new run for which nothing else is said; ``prices`` is
    the table's own text, empty where there is none. ``tokens`` is None where anybody may come in. ``run`` is the one
    run that every call belongs to, empty for a gateway of many. ``tls_cert`` and ``tls_key`` are PEM texts, empty
    without TLS. Counts of zero turn a bound off; ``max_connections`` is this worker's share. Durations are in seconds;
    zero waits without end, but for ``shutdown_timeout_s``, where it is no time at all.
    """

    endpoint: Endpoint
    client_version: str
    upstreams: dict[str, str]
    limits: Governance
    defaults: Governance
    prices: str = ""
    tokens: TokenBook | None
    run: str = ""
    reactions: Reactions = Reactions()
    require_run_id: bool
    max_open_runs: int
    run_idle_s: float
    inject: bool
    refusal_status: int | None
    max_body_bytes: int
    max_connections: int
    upstream_header_timeout_s: float
    header_timeout_s: float
    idle_timeout_s: float
    shutdown_timeout_s: float
    tls_cert: str = ""
    tls_key: str = ""
    access_log: str = "off"
    log_level: str = "warning"
    log_format: str = "text"

    def encode(self) -> bytes:
        """The settings as one line of JSON."""
        return msgspec.json.encode(self, enc_hook=_encode)

    @classmethod
    def decode(cls, line: bytes) -> GatewayConfig:
        """The settings that ``encode`` wrote."""
        return msgspec.json.decode(line, type=cls, dec_hook=_decode)


def _encode(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind.__name__)
