"""One notice to one URL: signed after the Standard Webhooks specification, and posted once.

The rule: whatever the endpoint does, it costs a bounded time and a bounded memory. Redirects are not followed, and the
answer's body is not read.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks.webhooks import Webhook

from leashd import __version__
from leashd.core.outbox import Failure
from leashd.reactions.place import shown_url
from leashd.reactions.schedule import AT_ONCE

TIMEOUT_S = 15.0  # the specification has endpoints answer within 15 to 30 s
_NANOSECONDS = 10**9
_GONE = 410  # "the endpoint wants no more of these": the specification, "Endpoint responses"


class WebhookSender:
    """Posts notices. It is made in the event loop, and closed by ``close``."""

    def __init__(self) -> None:
        self._resolver = _Resolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE, resolver=self._resolver, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"leash/{__version__}", "Content-Type": "application/json"},
        )

    async def send(
        self, url: str, *, notice_id: str, body: bytes, key: str, now: datetime | None = None
    ) -> Failure | None:
        """Posts a notice; why that failed, or None where it was taken."""
        now = now or datetime.now(UTC)
        headers = {
            "webhook-id": notice_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(key).sign(notice_id, now, body.decode()),
        }
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return _judged(response)
        except TimeoutError:
            return Failure(f"no answer within {TIMEOUT_S:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failure(_without_url(error))

    async def close(self) -> None:
        """Ends every connection."""
        await self._session.close()
        await self._resolver.close()


def _judged(response: aiohttp.ClientResponse) -> Failure | None:
    if 200 <= response.status < 300:
        return None
    if 300 <= response.status < 400:
        place = shown_url(response.headers.get("Location", ""))
        to = f" to {place}" if place else ""
        return Failure(f"the endpoint redirects{to} ({response.status}), which is not followed: name the final URL")
    if response.status == _GONE:
        return Failure("the endpoint wants no more notices (410)", final=True)
    return Failure(f"the endpoint answered {response.status}", wait_ns=_wait_ns(response))


def _without_url(error: Exception) -> str:
    """What went wrong, for logs and lists: some of the library's errors quote the URL, which may be a secret."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}: the endpoint's answer is no HTTP"
    if isinstance(error, aiohttp.InvalidURL):
        return f"{type(error).__name__}: the webhook's URL cannot be used"
    return f"{type(error).__name__}: {error}"


def _wait_ns(response: aiohttp.ClientResponse) -> int:
    """The pause that the endpoint asks for in seconds; a date is as good as none."""
    text = response.headers.get("Retry-After", "").strip()
    return int(text) * _NANOSECONDS if text.isascii() and text.isdecimal() and len(text) < 6 else 0


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own: a name server that does not answer holds a thread for half a minute."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="webhook-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Waits for no look-up that is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))
