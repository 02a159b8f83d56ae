"""One shim's session with its daemon: asks for calls, reports their outcomes, and outlives every broken stream.

What is kept and in which order it goes out is decided in :mod:`leash.client.outbox`; here it is carried to the daemon,
by one task that writes and one that reads for each stream.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Self

import anyio
import anyio.abc

from leash.client.errors import ClientError, DaemonUnavailable, DaemonUnreachable
from leash.client.link import LedgerDamaged, Link, LinkLost, check_prices
from leash.client.outbox import Outbox, Outcome, Pending, Reply
from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from leash.client.paths import Endpoint

# Two graces of the daemon and its start: a restart is waited for, and an SDK's own time-out is not reached.
UNAVAILABLE_AFTER_S = 5.0
# Opening and closing a run are answered at once; with a reconnect in between they take as long as that.
_RUN_TIMEOUT_S = 15.0
# A write takes milliseconds; a daemon that takes longer than this is as good as none to whoever asks if it is there.
PROBE_TIMEOUT_S = 1.0
# A price table is sent again after a broken link, each time within its own bound.
_PRICES_ATTEMPTS = 3
# The first connection may meet a daemon that is just leaving; the one after it starts another.
_FIRST_ATTEMPTS = 4
# The daemon's grace is 2 s, in which there have to be several attempts; a failed one costs 50 us.
_MIN_RECONNECT_S = 0.02
_MAX_RECONNECT_S = 0.25
# The ledger takes no writes (the disk is full), or a queue was full for a moment.
_MIN_RETRY_S = 0.05
_MAX_RETRY_S = 2.0
# With operations unanswered and nothing heard for one interval a sign is asked for, and after five the stream is given
# up, and so is whoever has waited for as long: one that hangs keeps nobody waiting longer than one that is away. A
# reserve may rightly wait for room for longer, a sign may not: it comes with the next commit, a slow one in a second.
_SIGN_INTERVAL_S = 1.0
_SILENT_INTERVALS = 5
# Outcomes are confirmed in milliseconds; a daemon that restarts gets its chance.
_LEAVE_TIMEOUT_S = 5.0
_EXPIRE_INTERVAL_S = 0.1

_log = logging.getLogger(__name__)


class ShimSession:
    """An async context manager: connected when entered, drained and cleanly ended when left.

    Entering raises ``AccessDenied``, ``DaemonUnreachable`` (``DaemonError`` where it could not be started) or
    ``SessionFailure``. Afterwards a lost daemon is found, or started again, by itself. ``on_push`` is called in the
    loop with each push; an error in it ends the session. ``welcome`` is what the daemon last said of itself.
    """

    def __init__(self, endpoint: Endpoint, *, client_version: str) -> None:
        self.on_push: Callable[[shim_pb2.Push], None] = _ignore
        self.welcome = shim_pb2.Welcome()
        self._endpoint = endpoint
        self._client_version = client_version
        self._session_id = secrets.token_bytes(16)
        self._outbox = Outbox()
        self._link: Link | None = None
        self._down_since_s = 0.0
        self._silent_since_s = inf
        self._trouble = ""
        self._heard = 0
        self._leaving = False
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._declined = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def on_closed(self) -> Callable[[bytes, shim_pb2.Closed, str, float], None]:
        """What is called once for each call whose end the daemon has confirmed; an error in it ends the session.

        It gets the call's id, the answer (an empty one where the daemon knows of no such call), the kind of operation
        (``settle``, ``void``, ``abandon`` or ``cancel``), and the seconds since that was first queued.
        """
        return self._outbox.on_closed

    @on_closed.setter
    def on_closed(self, tell: Callable[[bytes, shim_pb2.Closed, str, float], None]) -> None:
        self._outbox.on_closed = tell

    @property
    def connected(self) -> bool:
        """Whether a stream to the daemon stands."""
        return self._link is not None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._group = anyio.create_task_group()
        self._life = anyio.CancelScope(shield=True)
        link = await self._first_link()
        self._stand(link)
        await self._group.__aenter__()
        self._group.start_soon(self._live, link)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        with anyio.move_on_after(_LEAVE_TIMEOUT_S, shield=True):
            await self._drain_and_end()
        self._life.cancel()
        try:
            return await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if error is not None and group.exceptions == (error,):
                # The body's own error, which the group has only wrapped.
                return False
            raise

    async def put_prices(self, text: bytes) -> bytes:
        """Store a price table for an ``OpenRun`` to name; returns its SHA-256 (32 bytes).

        Raises ``SessionFailure`` where the text is no price table, and ``DaemonUnavailable``.
        """
        check_prices(text)
        trouble = ""
        for _ in range(_PRICES_ATTEMPTS):
            link = await self._linked()
            try:
                return await link.put_prices(text)
            except LinkLost as lost:
                trouble = str(lost)
                await anyio.sleep(_MIN_RECONNECT_S)
        raise DaemonUnavailable(f"leashd could not take the price table: {trouble}")

    async def open_run(self, message: shim_pb2.OpenRun) -> types_pb2.Account:
        """Open a run for this session, now and after every reconnect.

        Raises ``SessionFailure`` and ``DaemonUnavailable``.
        """
        return await self._ask_about_run(partial(self._outbox.open_run, message))

    async def close_run(self, run: str, *, unfinished: bool = False) -> types_pb2.Account:
        """Close a run that this session has open; ``unfinished`` where its agent goes on, so that its episode does.

        Raises ``SessionFailure`` and ``DaemonUnavailable``.
        """
        message = shim_pb2.CloseRun(run=run, unfinished=unfinished)
        return await self._ask_about_run(partial(self._outbox.close_run, message))

    async def probe(self, timeout_s: float = PROBE_TIMEOUT_S) -> shim_pb2.Probed:
        """Have the daemon write to its ledger. Raises ``DaemonUnavailable`` where it has not within the time."""
        outcome = await self._ask(self._outbox.probe, timeout_s)
        assert isinstance(outcome, shim_pb2.Probed), "a probe is answered as one"
        return outcome

    async def reserve(self, message: shim_pb2.Reserve) -> shim_pb2.Admitted | shim_pb2.Refused:
        """Ask for the admission of one call, and wait as long as the daemon lets it wait for room.

        Raises ``DaemonUnavailable`` after 5 s without a connection, or where the daemon cannot record it, and
        ``SessionFailure``. The call must then not be forwarded, and the daemon is told so; the same where the waiting
        task is cancelled.
        """
        self._refuse_when_leaving()
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._outbox.reserve(message, partial(_resolve, future), self._loop.time())
        self._wake.set()
        try:
            outcome = await future
        except asyncio.CancelledError:
            # Also where the answer had come, and this task was cancelled before it ran again.
            self._outbox.cancel(message.call_id, self._loop.time())
            self._changed()
            raise
        if isinstance(outcome, ClientError):
            raise outcome
        assert isinstance(outcome, shim_pb2.Admitted | shim_pb2.Refused), "a reserve is admitted or refused"
        return outcome

    def settle(self, message: shim_pb2.Settle) -> None:
        """Close an admitted call with what the wire reported; kept and sent again until the daemon confirms it."""
        self._outbox.settle(message, self._loop.time())
        self._changed()

    def void(self, message: shim_pb2.Void) -> None:
        """Close an admitted call that never reached the provider; kept like a settle."""
        self._outbox.void(message, self._loop.time())
        self._changed()

    def abandon(self, message: shim_pb2.Abandon) -> None:
        """Close an admitted call of which the provider's side is unknown; kept like a settle."""
        self._outbox.abandon(message, self._loop.time())
        self._changed()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until the daemon has confirmed every outcome; False where it has not within the time."""
        self._changed()
        with anyio.move_on_after(timeout_s):
            await self._confirmed.wait()
        return self._outbox.closing == 0

    async def _ask_about_run(self, ask: Callable[[Reply, float], Pending]) -> types_pb2.Account:
        outcome = await self._ask(ask, _RUN_TIMEOUT_S)
        assert isinstance(outcome, types_pb2.Account), "a run's opening and closing answer with its account"
        return outcome

    async def _ask(self, ask: Callable[[Reply, float], Pending], timeout_s: float) -> Outcome:
        self._refuse_when_leaving()
        future: asyncio.Future[Outcome] = self._loop.create_future()
        pending = ask(partial(_resolve, future), self._loop.time())
        self._wake.set()
        try:
            with anyio.fail_after(timeout_s):
                outcome = await future
        except TimeoutError:
            raise DaemonUnavailable(f"leashd has not answered for {timeout_s:g} s") from None
        finally:
            self._outbox.forget(pending, self._loop.time())
            self._changed()
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    async def _first_link(self) -> Link:
        trouble, began_s = "", self._loop.time()
        for attempt in range(_FIRST_ATTEMPTS):
            if self._loop.time() - began_s >= UNAVAILABLE_AFTER_S:
                break  # it is not leaving, it hangs
            await anyio.sleep(_MIN_RECONNECT_S * attempt)
            try:
                return await Link.open(self._endpoint, self._hello())
            except LedgerDamaged as damaged:
                raise DaemonUnreachable(str(damaged)) from None
            except LinkLost as lost:
                trouble = str(lost)
        raise DaemonUnreachable(f"leashd does not answer on {self._endpoint.socket}: {trouble}")

    async def _linked(self) -> Link:
        self._refuse_when_leaving()
        with anyio.move_on_after(UNAVAILABLE_AFTER_S):
            await self._connected.wait()
        if self._link is None:
            raise DaemonUnavailable(self._unavailable())
        return self._link

    async def _live(self, link: Link) -> None:
        # A cancellation from outside ends the body; the stream has to outlive it until what is left is drained.
        with self._life:
            async with anyio.create_task_group() as group:
                group.start_soon(self._resume_declined)
                await self._stay_linked(link)
                group.cancel_scope.cancel()

    async def _stay_linked(self, link: Link) -> None:
        """Carry one stream after the other until the session is left."""
        delay_s = 0.0
        try:
            while True:
                heard = self._heard
                await self._serve(link)
                if self._leaving and not self._outbox.closing:
                    return
                # A stream that brought nothing but its welcome was no better than a failed attempt.
                delay_s = _longer(delay_s) if self._heard - heard <= 1 else 0.0
                async with anyio.create_task_group() as group:
                    group.start_soon(self._expire)
                    link = await self._relink(delay_s)
                    group.cancel_scope.cancel()
                self._stand(link)
        finally:
            self._ended.set()

    def _stand(self, link: Link) -> None:
        """Queue for a new stream what has to go out over it."""
        self._outbox.relink(self._loop.time())
        self._link, self.welcome = link, link.welcome
        self._connected.set()
        self._wake.set()

    async def _relink(self, delay_s: float) -> Link:
        while True:
            await anyio.sleep(delay_s)
            try:
                return await Link.open(self._endpoint, self._hello())
            except (LinkLost, ClientError) as error:
                self._trouble = str(error)
            delay_s = _longer(delay_s)

    async def _serve(self, link: Link) -> None:
        """Carry operations and answers over one stream until it ends."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._write, link, group.cancel_scope)
                group.start_soon(self._listen_for_signs, group.cancel_scope)
                await self._read(link)
                group.cancel_scope.cancel()
        finally:
            self._link, self._down_since_s = None, min(self._silent_since_s, self._loop.time())
            self._silent_since_s = inf
            self._connected.clear()
            with anyio.CancelScope(shield=True):
                await link.close()

    async def _read(self, link: Link) -> None:
        try:
            while (response := await link.read()) is not None:
                self._heard += 1
                now_s = self._loop.time()
                for answer in response.answers:
                    self._outbox.take(answer, now_s)
                for push in response.pushes:
                    self.on_push(push)
                self._changed()
        except LinkLost as lost:
            self._lost(lost)

    async def _write(self, link: Link, scope: anyio.CancelScope) -> None:
        try:
            while True:
                request = self._outbox.next_batch(self._loop.time(), flush=self._leaving)
                if request is not None:
                    await link.write(request)
                elif self._leaving and not (self._outbox.awaited or self._outbox.deferred):
                    await link.half_close()
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except LinkLost as lost:
            self._lost(lost)
            scope.cancel()

    async def _listen_for_signs(self, scope: anyio.CancelScope) -> None:
        """Give up a stream whose daemon is alive to the kernel but answers nothing."""
        silent, heard, since_s = 0, self._heard, self._loop.time()
        while True:
            await anyio.sleep(_SIGN_INTERVAL_S)
            if heard != self._heard or not self._outbox.awaited:
                silent, heard, since_s = 0, self._heard, self._loop.time()
                continue
            silent += 1
            if silent == _SILENT_INTERVALS:
                self._silent_since_s = since_s
                self._lost(LinkLost(f"nothing heard from it for {_SIGN_INTERVAL_S * _SILENT_INTERVALS:.0f} s"))
                scope.cancel()
            self._outbox.ask_for_a_sign(self._loop.time())
            self._wake.set()

    async def _expire(self) -> None:
        while True:
            await anyio.sleep(_EXPIRE_INTERVAL_S)
            self._outbox.expire(
                self._loop.time(),
                down_since_s=self._down_since_s,
                bound_s=UNAVAILABLE_AFTER_S,
                message=self._unavailable(),
            )
            self._changed()

    async def _resume_declined(self) -> None:
        while True:
            await self._declined.wait()
            await anyio.sleep(min(_MIN_RETRY_S * 2 ** min(self._outbox.deferred_attempts, 16), _MAX_RETRY_S))
            self._declined.clear()
            self._outbox.resume()
            self._changed()

    async def _drain_and_end(self) -> None:
        self._leaving = True
        self._outbox.fail_waiting("the session has ended", self._loop.time())
        self._changed()
        if self._link is not None or self._outbox.closing:
            await self._ended.wait()

    def _hello(self) -> shim_pb2.Operation:
        return self._outbox.hello(self._session_id, self._client_version)

    def _changed(self) -> None:
        """Wake whoever has something to do after the outbox has changed."""
        if self._outbox.unsent or self._leaving:
            self._wake.set()
        if self._outbox.deferred:
            self._declined.set()
        if self._outbox.closing:
            self._confirmed.clear()
        else:
            self._confirmed.set()

    def _lost(self, lost: LinkLost) -> None:
        self._trouble = str(lost)
        _log.info("the link to leashd was lost: %s", lost)
        if isinstance(lost, LedgerDamaged):
            self._outbox.fail_waiting(self._trouble, self._loop.time())
            self._changed()

    def _unavailable(self) -> str:
        reason = f": {self._trouble}" if self._trouble else ""
        return f"leashd has not answered for {UNAVAILABLE_AFTER_S:.0f} s{reason}"

    def _refuse_when_leaving(self) -> None:
        if self._leaving:
            raise DaemonUnavailable("the session has ended")


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


def _longer(delay_s: float) -> float:
    return min(max(2 * delay_s, _MIN_RECONNECT_S), _MAX_RECONNECT_S)


def _ignore(_push: shim_pb2.Push) -> None:
    """Stand in for a push handler where a shim needs none."""
