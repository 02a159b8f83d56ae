"""Agents of a gateway: each makes one call on a connection of its own, and tells what it got."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.rules.counting import body_of
from tests.harness import WAIT_S, Gateway, wait_until

_IN_FLIGHT = re.compile(rb"(?m)^leash_requests_in_flight(?:\{.*\})? (\S+)")


def request(number: int, run: str, *, streams: bool, path: str = "/v1/chat/completions") -> bytes:
    """A whole request, as it goes over the wire."""
    body = json.dumps(body_of(number, streams=streams)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: leash\r\nConnection: close\r\nX-Loop-Id: {run}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def connect(origin: str) -> socket.socket:
    parts = urlsplit(origin)
    assert parts.hostname
    assert parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=2 * WAIT_S)


def call(origin: str, number: int, run: str, *, streams: bool = False) -> str:
    """Makes one call: ``whole``, ``cut``, ``lost`` where not even a head came, or the status and code of an error."""
    answer = b""
    with connect(origin) as connection, suppress(ConnectionError):
        connection.sendall(request(number, run, streams=streams))
        while data := connection.recv(65_536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return "lost"
    status = head.split(b" ")[1].decode()
    if status != "200":
        return f"{status} {error_of(body)['code']}"
    if streams:
        return "whole" if b"data: [DONE]" in body and body.endswith(b"0\r\n\r\n") else "cut"
    with suppress(ValueError):
        return "whole" if "choices" in json.loads(body) else "cut"
    return "cut"


def error_of(body: bytes) -> dict[str, Any]:
    """The error in a refusal's body, whether or not that came in chunks."""
    text = body[body.index(b"{") : body.rindex(b"}") + 1]
    error: dict[str, Any] = json.loads(text)["error"]
    return error


def until_under_way(gateway: Gateway, requests: int) -> None:
    """Returns once so many requests are under way in a gateway that has an admin listener."""

    def under_way() -> int:
        with urllib.request.urlopen(f"{gateway.admin}/metrics", timeout=WAIT_S) as answer:
            return sum(int(float(figure)) for figure in _IN_FLIGHT.findall(answer.read()))

    wait_until(lambda: under_way() == requests, f"{requests} requests are under way")


class Agents:
    """Calls under way, each in a thread, whole answers and streams in turn."""

    def __init__(self, pool: ThreadPoolExecutor, origin: str, run: str, numbers: range) -> None:
        self._calls: list[Future[str]] = [
            pool.submit(call, origin, number, run, streams=bool(number % 2)) for number in numbers
        ]

    def ends(self) -> list[str]:
        """How each ended, in order."""
        return [future.result(2 * WAIT_S) for future in self._calls]
