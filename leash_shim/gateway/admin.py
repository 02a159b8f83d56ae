"""The admin listener of a gateway: whether it lives, whether it is ready, its figures, and the page of its runs.

The rule: who asks for figures or runs shows a token where the gateway has any; a probe of an orchestrator has none to
show.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from leash.client.errors import ClientError
from leash_shim.gateway.status_page import PATHS, StatusPage
from leash_shim.gateway.tokens import Token, TokenBook, matches
from leash_shim.headers import Headers, first

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from prometheus_client.registry import Collector

    from leash.v1 import shim_pb2
    from leash_shim.asgi import Message, Receive, Send

# An orchestrator asks every few seconds, and has its own time-out; a daemon that takes longer than this is not ready.
READY_WITHIN_S = 1.0

_TEXT = b"text/plain; charset=utf-8"

_DRAINING = "draining"


class AdminApp:
    """The ASGI application of the admin listener.

    ``probe`` writes through the daemon, and raises ``ClientError`` where that fails. ``tokens`` gives the tokens of
    now, or None where anybody may come in. ``metrics_dir`` is where the workers leave their figures. ``page`` answers
    for the page of status.
    """

    def __init__(  # noqa: PLR0913 - what the three of them need
        self,
        *,
        probe: Callable[[], Awaitable[shim_pb2.Probed]],
        is_draining: Callable[[], bool],
        tokens: Callable[[], TokenBook | None],
        metrics_dir: str,
        version: str,
        page: StatusPage,
    ) -> None:
        self._probe = probe
        self._is_draining = is_draining
        self._tokens = tokens
        self._metrics_dir = metrics_dir
        self._version = version
        self._page = page

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        match scope["type"]:
            case "http" if scope["path"] in PATHS and scope["method"] in ("GET", "HEAD"):
                await self._show(scope, receive, send)
            case "http":
                status, content_type, body = await self._answer(scope)
                await _send(send, status, content_type, b"" if scope["method"] == "HEAD" else body, size=len(body))
            case _:
                await receive()
                await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Message) -> tuple[int, bytes, bytes]:
        """The status, the content type and the body of an answer."""
        path: str = scope["path"]
        if path not in ("/healthz", "/readyz", "/metrics", *PATHS):
            return 404, _TEXT, b"there is /, /healthz, /readyz and /metrics"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, _TEXT, b"only GET and HEAD"
        if path == "/healthz":
            return 200, _TEXT, b"ok"
        if path == "/readyz":
            return await self._ready()
        return await self._metrics(scope["headers"])

    async def _show(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers for the page of status, with the runs of whose token it is."""
        token = self._token(scope["headers"])
        if token is None and not _is_own_name(first(scope["headers"], b"host")):
            # Without a token it is the name alone that tells a person from a page of the web that has its own name
            # lead here.
            body = b"this page is shown under an IP address, localhost or a name without dots; else with a token"
            await _send(send, 421, _TEXT, b"" if scope["method"] == "HEAD" else body, size=len(body))
            return
        if token is None and self._tokens() is not None:
            body = b"the runs need a token of this gateway: as the password, with any name, or as X-Leash-Token"
            await _send(send, 401, _TEXT, b"" if scope["method"] == "HEAD" else body, size=len(body))
            return

        def is_welcome() -> bool:
            return self._tokens() is None if token is None else self._token(scope["headers"]) == token

        tenant = "" if token is None else token.tenant
        await self._page.answer(scope, receive, send, tenant=tenant, is_welcome=is_welcome)

    async def _ready(self) -> tuple[int, bytes, bytes]:
        probed = _DRAINING if self._is_draining() else await self._probed()
        if isinstance(probed, str):
            return 503, _TEXT, probed.encode()
        return 200, _TEXT, b"ready"

    async def _metrics(self, request_headers: Headers) -> tuple[int, bytes, bytes]:
        if not self._may_read(request_headers):
            return 401, _TEXT, b"the figures need a token of this gateway: X-Leash-Token, or a bearer token"
        probed = await self._probed()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._metrics_dir)
        registry.register(Told(probed, is_draining=self._is_draining(), version=self._version))
        encode, content_type = _encoder(first(request_headers, b"accept"))
        # Of all files without a pause, so that a worker's end falls before it or after it.
        return 200, content_type.encode("ascii"), encode(registry)

    def _may_read(self, request_headers: Headers) -> bool:
        """Whether somebody who is asking for the figures may have them: those of all tenants and runs together."""
        return self._tokens() is None or self._token(request_headers) is not None

    def _token(self, request_headers: Headers) -> Token | None:
        """The token that is shown, where it is one that is not bound to a single run."""
        book = self._tokens()
        if book is None:
            return None
        scheme, _, credentials = first(request_headers, b"authorization").partition(" ")
        shown = first(request_headers, b"x-leash-token")
        if not shown and scheme.lower() == "bearer":
            shown = credentials.strip()
        elif not shown and scheme.lower() == "basic":
            shown = _password(credentials.strip())
        token = matches(book, shown)
        return token if token is not None and not token.run else None

    async def _probed(self) -> shim_pb2.Probed | str:
        """How the daemon fares, or why that is not known."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                return await self._probe()
        except TimeoutError:
            return f"leashd has not written to its ledger within {READY_WITHIN_S:g} s"
        except ClientError as error:
            return str(error)


class Told:
    """What does not come from the workers: the program's version, whether it is ready, and what the daemon tells.

    Where the daemon has told nothing there are none of its figures either: old ones would hide that.
    """

    def __init__(self, probed: shim_pb2.Probed | str, *, is_draining: bool, version: str) -> None:
        self._probed = None if isinstance(probed, str) else probed
        self._is_ready = self._probed is not None and not is_draining
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """The metrics, as of the probe."""
        build = GaugeMetricFamily("leash_build_info", "1, of the version that is running.", labels=("version",))
        build.add_metric((self._version,), 1)
        yield build
        yield GaugeMetricFamily(
            "leash_ready", "1 where the gateway takes calls, 0 where /readyz says why not.", float(self._is_ready)
        )
        if self._probed is not None:
            yield GaugeMetricFamily(
                "leash_active_runs", "Runs that are open, of every user of the ledger.", self._probed.open_runs
            )
            yield _commit_sizes(self._probed)


def _commit_sizes(probed: shim_pb2.Probed) -> Metric:
    """The histogram of how many operations shared a commit; the daemon tells its buckets one by one."""
    sizes = HistogramMetricFamily("leash_commit_batch_size", "Operations that share one commit of leashd.")
    buckets, total = [], 0
    for power, commits in enumerate(probed.commits_by_size):
        total += commits
        buckets.append((floatToGoString(1 << power), float(total)))
    sizes.add_metric((), [*buckets, ("+Inf", float(probed.commits))], probed.operations)
    return sizes


def _is_own_name(host: str) -> bool:
    """Whether a name is none that somebody on the internet can have lead to this host."""
    name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
    if name == "localhost" or name.endswith(".localhost") or "." not in name.strip("[]"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _password(credentials: str) -> str:
    """The password of RFC 7617, which is how a browser shows a token; empty where there is none."""
    try:
        _, _, password = base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """How to write the figures for somebody who accepts this, and the content type of that."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # The library cannot read a version that is no number.
        return choose_encoder("")


async def _send(send: Send, status: int, content_type: bytes, body: bytes, *, size: int) -> None:
    fields = [
        (b"content-type", content_type),
        (b"content-length", str(size).encode("ascii")),
        (b"cache-control", b"no-store"),
    ]
    # RFC 9110 sections 15.5.2 and 15.5.6: both tell what would help.
    if status == 401:
        # The first is what a browser asks a person for: the token, as a password.
        fields.append((b"www-authenticate", b'Basic realm="leash", charset="UTF-8"'))
        fields.append((b"www-authenticate", b"Bearer"))
    elif status == 405:
        fields.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
