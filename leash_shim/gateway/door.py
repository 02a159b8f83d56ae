"""The door of a gateway: who comes in with which token, under which run, and what is taken off the request.

The rule: what is addressed to leash ends here. A token goes no further, and neither do the parts of a path that stand
for it and for the run. A header goes before what the path says.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import unquote

from anyio import create_task_group

from leash.client.errors import ClientError, SessionFailure
from leash.governance import parse_count
from leash.names import check_name_part
from leash.units import parse_dollars
from leash.v1 import shim_pb2, types_pb2
from leash_shim.door import Denial, Visitor, unavailable
from leash_shim.gateway.runs import RunCloser, RunRegistry
from leash_shim.gateway.tokens import Tenant, TokenTable
from leash_shim.headers import first, repeated

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from leash_shim.gateway.config import GatewayConfig
    from leash_shim.gateway.tokens import Token
    from leash_shim.headers import Headers

# The run of a request that names none.
DEFAULT_RUN = "default"

# The parts of a path that go before a token and before a run.
TOKEN_PART = "t"  # noqa: S105 (it goes before one)
RUN_PART = "run"

# What may be said once, in lower case as the server has it.
_ONCE = frozenset((b"x-leash-token", b"x-loop-id", b"x-leash-max-cost", b"x-leash-max-calls"))

# A run ends when it has been idle, and then there is room for another.
_TOO_MANY_RETRY_SECONDS = 5

# Above any limit that means something. What a client says is shown to it only so far.
_MOST_LIMIT_CHARACTERS = 40

_UNAUTHORIZED = "leash needs a token that it knows: send it as X-Leash-Token, or put /t/TOKEN before the path"


class RunOpener(RunCloser, Protocol):
    """The part of a session that a door needs. ``leash.client.session.ShimSession`` has it."""

    async def open_run(self, message: shim_pb2.OpenRun) -> types_pb2.Account:
        """Opens a run. Raises ``ClientError``."""
        ...

    async def put_prices(self, text: bytes) -> bytes:
        """Stores a price table. Raises ``ClientError``."""
        ...


class GatewayDoor:
    """The door of one worker. An async context manager, which closes the runs that it has opened when it is left."""

    def __init__(self, config: GatewayConfig, session: RunOpener) -> None:
        self._session = session
        self._runs = RunRegistry(session, idle_s=config.run_idle_s, now=asyncio.get_running_loop().time)
        self._group = create_task_group()
        self._take(config)

    async def __aenter__(self) -> Self:
        """Begins to close runs that are idle."""
        await self._group.__aenter__()
        self._group.start_soon(self._runs.watch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Closes the runs, whose agents go on."""
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, trace)
        finally:
            await self._runs.close_all()

    def reload(self, config: GatewayConfig) -> None:
        """Takes other settings: at once for who comes in, and before its next call for a run that is open."""
        self._take(config)
        self._runs.reopen_all()

    def admit(self, path: str, request_headers: Headers, /) -> Visitor | Denial:
        """The visitor that a request is, or why it may not come in."""
        token_text, run, path = _taken_off(path)
        if twice := repeated(request_headers, _ONCE):
            # A proxy that adds its own without taking the client's away leaves open which of the two is meant.
            return Denial(status=400, code="bad_header", message=f"{twice} stands there twice")
        run = first(request_headers, b"x-loop-id") or run
        token = None
        if self._tokens is not None:
            token = self._tokens.find(first(request_headers, b"x-leash-token") or token_text)
            if token is None:
                return Denial(status=401, code="unauthorized", message=_UNAUTHORIZED, path=path)
        try:
            full_name = self._full_name(token, run)
        except ValueError as error:
            return Denial(status=400, code="bad_run_id", message=f"X-Loop-Id: {error}", path=path)
        if token is not None and token.run and full_name and full_name != f"{token.tenant}/{token.run}":
            message = f"this token is for the run {token.run} only: name that one in X-Loop-Id, or none"
            return Denial(status=401, code="unauthorized", message=message, path=path)
        if self._config.run and run not in ("", self._config.run):
            message = f"this shim is for the run {self._config.run} only: name that one in X-Loop-Id, or none"
            return Denial(status=401, code="unauthorized", message=message, path=path)
        try:
            return Visitor(
                path=path,
                run=full_name,
                max_cost_nanodollars=_limit(request_headers, "X-Leash-Max-Cost", parse_dollars),
                max_calls=_limit(request_headers, "X-Leash-Max-Calls", parse_count),
            )
        except ValueError as error:
            return Denial(status=400, code="bad_limit", message=str(error), path=path)

    async def enter(self, visitor: Visitor, /) -> Denial | None:
        """Has the visitor's run open in the daemon, and counts a call of it."""
        if not visitor.run:
            message = "this gateway needs to know the run (--require-run-id): name it in X-Loop-Id"
            return Denial(status=400, code="run_id_required", message=message)
        try:
            await self._runs.enter(visitor.run, lambda: self._open(visitor))
        except SessionFailure as failure:
            return _denial(failure)
        except ClientError as error:
            return unavailable(str(error))
        return None

    def leave(self, visitor: Visitor, /) -> None:
        """A call of the visitor's run has ended."""
        self._runs.leave(visitor.run)

    def _take(self, config: GatewayConfig) -> None:
        self._config = config
        self._tokens = TokenTable(config.tokens) if config.tokens is not None else None
        self._runs.idle_s = config.run_idle_s
        self._prices = config.prices.encode("utf-8")
        self._prices_sha256 = hashlib.sha256(self._prices).digest() if self._prices else b""

    def _full_name(self, token: Token | None, run: str) -> str:
        """The run's name with its tenant; empty where none is named and one has to be. Raises ``ValueError``."""
        name = check_name_part(run) if run else ""
        if self._config.run:
            return self._config.run
        if not name:
            bound = token.run if token is not None else ""
            name = bound or ("" if self._config.require_run_id else DEFAULT_RUN)
        return f"{token.tenant}/{name}" if token is not None and name else name

    async def _open(self, visitor: Visitor) -> None:
        opening = self._opening(visitor)
        try:
            await self._session.open_run(opening)
        except SessionFailure as failure:
            if failure.code != shim_pb2.FAILURE_CODE_PRICES_UNKNOWN or not self._prices:
                raise
            await self._session.put_prices(self._prices)
            await self._session.open_run(opening)

    def _opening(self, visitor: Visitor) -> shim_pb2.OpenRun:
        config = self._config
        tenant = Tenant()
        if config.tokens is not None:
            tenant = config.tokens.tenants.get(visitor.run.partition("/")[0], tenant)
        limits = config.limits.overridden_by(tenant.limits)
        lowered = types_pb2.Limits(max_cost_nanodollars=visitor.max_cost_nanodollars, max_calls=visitor.max_calls)
        return shim_pb2.OpenRun(
            run=visitor.run,
            limits=limits.to_wire(),
            defaults=config.defaults.to_wire(),
            prices_sha256=self._prices_sha256,
            kind="gateway",
            lowered=lowered,
            max_open_runs=config.max_open_runs,
            max_runs=tenant.max_runs,
            reactions=config.reactions.to_wire(),
        )


def _taken_off(path: str) -> tuple[str, str, str]:
    """The token and the run that a path begins with, each empty where it does not, and what is left of it.

    They may stand in either order, and again, as in a base URL that was put together of two: the first one counts.
    """
    first_part, *parts = path.split("/")
    found: dict[str, str] = {}
    size = 0
    while not first_part and size < len(parts) and parts[size] in (TOKEN_PART, RUN_PART):
        if parts[size] not in found:
            found[parts[size]] = unquote("".join(parts[size + 1 : size + 2]))
        size += 2
    rest = f"/{'/'.join(parts[size:])}" if size else path
    return found.get(TOKEN_PART, ""), found.get(RUN_PART, ""), rest


def _limit(request_headers: Headers, name: str, parse: Callable[[str], int]) -> int | None:
    """The limit in a header; None where there is none. Raises ``ValueError``, which names the header."""
    text = first(request_headers, name.lower().encode("ascii"))
    if len(text) > _MOST_LIMIT_CHARACTERS:
        raise ValueError(f"{name}: {text[:_MOST_LIMIT_CHARACTERS]!r}… is no limit")
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _denial(failure: SessionFailure) -> Denial:
    """What a run that the daemon does not open comes to."""
    match failure.code:
        case shim_pb2.FAILURE_CODE_TOO_MANY_RUNS:
            return Denial(status=402, code="too_many_runs", message=str(failure))
        case shim_pb2.FAILURE_CODE_TOO_MANY_OPEN:
            retry = _TOO_MANY_RETRY_SECONDS
            return Denial(status=503, code="too_many_runs", message=str(failure), retry_after_seconds=retry)
        case shim_pb2.FAILURE_CODE_INVALID:
            # To ask again is of no use before somebody has changed the limits.
            return Denial(status=503, code="leash_unavailable", message=str(failure))
        case _:
            return unavailable(str(failure))
