"""What the tests of a gateway's door ask on real sockets, and somebody who keeps what is observed of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from leash_shim.gateway.tokens import parse_tokens
from leash_shim.observer import Exchange, Observer
from tests.e2e.shim.conftest import PATIENCE_S
from tests.unit.leash_shim.gateway.settings import gateway_config

if TYPE_CHECKING:
    from leash.usage import Usage
    from leash.v1 import shim_pb2

TOKEN = "token-of-team-a-1234"
OTHER = "token-of-team-b-5678"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
COMPLETION = json.dumps(
    {
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
    }
).encode()


def gateway(**settings: Any) -> dict[str, Any]:
    tokens, _ = parse_tokens(f"team-a: {TOKEN}\nteam-b: {OTHER}", source="tokens")
    return {"gateway": gateway_config(**{"tokens": tokens} | settings)}


def post(path: str = "/v1/chat/completions", body: bytes = BODY, *, method: str = "POST", **headers: str) -> bytes:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nAuthorization: Bearer sk-1\r\n{fields}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def answer(body: bytes = COMPLETION, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Seen(Observer):
    """Keeps what it is told."""

    begun: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def began(self, exchange: Exchange) -> None:
        self.begun += 1

    def ended(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def reserved(
        self, exchange: Exchange, verdict: shim_pb2.Admitted | shim_pb2.Refused | None, seconds: float
    ) -> None:
        assert seconds >= 0
        self.told.append(f"reserved {type(verdict).__name__}")

    def settled(self, exchange: Exchange, usage: Usage | None) -> None:
        self.told.append(f"settled {None if usage is None else usage.input_tokens}")

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        self.told.append(f"failed {status}")

    async def until_ended(self) -> None:
        """Returns when all that has begun has ended."""
        with anyio.fail_after(PATIENCE_S):
            while not self.exchanges or len(self.exchanges) < self.begun:  # noqa: ASYNC110 (it is told, and tells nobody)
                await anyio.sleep(0.005)

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]
