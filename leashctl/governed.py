"""A wrapped run from its opening to its end: the session with the daemon, the shim, and the last line.

The rule: the program never goes on without its shim. Where leash fails, ``wrap`` ends the program's tree.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from leash.client.errors import ClientError, SessionFailure
from leash.client.session import ShimSession
from leash.log import configure
from leash.v1 import shim_pb2, types_pb2
from leashctl.child import SIGNALLED, CommandFailure
from leashctl.failure import EXIT_STOPPED, Failure, say
from leashctl.process_tree import end_left_behind, end_tree
from leashctl.render import end_line, policy_name, silence_line, unresolved_line, warning_line, would_stop_line
from leashctl.version import client_version

if TYPE_CHECKING:
    from types import ModuleType

    from leash_shim.app import ShimApp
    from leash_shim.door import OneRun
    from leashctl.child import Child
    from leashctl.plan import Plan
    from leashctl.status_line import StatusLine

# A daemon that runs answers sooner than this, and importing the server would only hold its answer up. One that has to
# be started takes longer, and the time is used.
_DAEMON_FIRST_S = 0.06

# Answers under way when the program ends are read on, so that they are counted. The shim bounds that; after this long
# the person is told what is waited for.
_PATIENCE_S = 1.0

# The daemon confirms outcomes in milliseconds; one that is just restarting gets its chance.
_CONFIRM_S = 5.0

# A run is warned once for each budget and each way to be blind; more than these are raises of its limits.
_MOST_WARNINGS = 20

_STOPPED = (types_pb2.STATUS_STOPPED, types_pb2.STATUS_KILLED)


def govern(plan: Plan, child: Child, line: StatusLine | None = None) -> int:
    """Governs the program to its end, starting it first where that was not done; returns the exit code.

    ``line`` shows where the run stands, and is given back once the program has ended.

    Raises ``Failure`` and ``CommandFailure``.
    """
    configure(level=plan.log_level, log_format=plan.log_format)

    async def live() -> int:
        return await GovernedRun(plan, child, line).live()

    return anyio.run(live, backend_options={"use_uvloop": True})


class GovernedRun:
    """One wrapped run, made in the event loop. ``live`` is its whole life."""

    def __init__(self, plan: Plan, child: Child, line: StatusLine | None = None) -> None:
        self._plan = plan
        self._child = child
        self._line = line
        self._session = ShimSession(plan.endpoint, client_version=client_version())
        self._app: ShimApp | None = None
        self._door: OneRun | None = None
        self._opened = anyio.Event()
        self._shutdown = anyio.Event()
        self._hosting = anyio.CancelScope()
        self._hosted = anyio.Event()
        self._confirming = anyio.CancelScope()
        self._watching = anyio.CancelScope()
        self._trouble = "interrupted"
        self._calls_before = 0
        self._stopped = False
        self._killed = False
        self._warned: list[shim_pb2.RunWarned] = []

    async def live(self) -> int:
        """Opens the run, serves the program until it has ended, closes the run; returns the exit code."""
        loop = asyncio.get_running_loop()

        def on_late_signal() -> None:
            loop.call_soon_threadsafe(self._hurry)

        self._child.on_late_signal = on_late_signal
        self._session.on_push = self._take_push
        account: types_pb2.Account | None = None
        trouble: Exception | None = None
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._host_shim)
            try:
                with self._confirming:
                    async with self._session:
                        await self._open()
                        await self._accompany()
                        account = await self._close()
            except ClientError as error:
                trouble = Failure(f"run {self._plan.run} cannot be opened: {error}")
            except CommandFailure as failure:
                trouble = failure
            self._group.cancel_scope.cancel()
        if trouble is not None:
            raise trouble
        return self._conclude(account)

    async def _open(self) -> None:
        """Opens the run, and starts the program where that had to wait for it."""
        opening = self._plan.open_message(self._child.pid)
        try:
            account = await self._session.open_run(opening)
        except SessionFailure as failure:
            if failure.code != shim_pb2.FAILURE_CODE_PRICES_UNKNOWN or self._plan.prices is None:
                raise
            await self._session.put_prices(self._plan.prices.text)
            account = await self._session.open_run(opening)
        self._calls_before = _calls(account)
        if not account.priced:  # by a table of its own, or the daemon's
            limits = account.limits
            self._plan.say_about_prices(budgeted=limits.max_cost_nanodollars > 0, on_blind=policy_name(limits.on_blind))
        if not self._child.pid and not self._killed:
            self._child.start(self._plan.command, self._plan.environ)
            # Again, now that there is a process to name. Its limits are declared already.
            opening.pid = self._child.pid
            opening.ClearField("limits")
            with suppress(ClientError):
                await self._session.open_run(opening)
        self._opened.set()
        if self._line is not None:
            self._group.start_soon(self._keep_line, self._line, account)

    async def _keep_line(self, line: StatusLine, account: types_pb2.Account) -> None:
        from leashctl.run_progress import keep_line  # noqa: PLC0415 (for who asks for it)

        with self._watching:
            await keep_line(line, self._plan.endpoint, account)

    async def _accompany(self) -> None:
        """Waits for the program's end and that of its tree, and for the calls that it has left under way."""
        if self._child.pid:
            await self._child.wait()
            self._watching.cancel()
            if self._line is not None:
                self._line.end()
            await anyio.to_thread.run_sync(end_left_behind)
        if self._app is None:
            # Whoever was to be served is gone, and nothing was forwarded.
            self._hosting.cancel()
        self._shutdown.set()
        with anyio.move_on_after(_PATIENCE_S):
            await self._hosted.wait()
        if not self._hosted.is_set() and self._app is not None and self._app.calls_under_way:
            calls = self._app.calls_under_way
            say(f"waiting for {calls} of its calls, so that they are counted (Ctrl-C leaves them unresolved)")
        await self._hosted.wait()

    async def _close(self) -> types_pb2.Account | None:
        """Closes the run; returns its final account, or None where the daemon does not tell it."""
        try:
            await self._session.drained(_CONFIRM_S)
            return await self._session.close_run(self._plan.run)
        except ClientError as error:
            self._trouble = str(error)
            return None

    async def _host_shim(self) -> None:
        """Serves the program's connections, which have been waiting in the backlog."""
        try:
            with self._hosting:
                with anyio.move_on_after(_DAEMON_FIRST_S):
                    await self._opened.wait()
                hosting = await anyio.to_thread.run_sync(_import_hosting, abandon_on_cancel=True)
                await self._opened.wait()
                plan = self._plan
                settings = hosting.ShimSettings(
                    upstreams=plan.upstreams,
                    session=self._session,
                    inject=plan.inject,
                    max_body_bytes=plan.max_body_bytes,
                    header_timeout_s=plan.header_timeout_s,
                    refusal_status=plan.refusal_status,
                )
                self._door = hosting.OneRun(plan.run, secret=plan.secret)
                async with hosting.ShimApp(settings, door=self._door) as self._app:
                    await hosting.serve(self._app, plan.listener, shutdown=self._shutdown, cut=self._app.cut)
        finally:
            self._hosted.set()
        if not self._shutdown.is_set():
            raise RuntimeError("the shim ended before the program")

    def _take_push(self, push: shim_pb2.Push) -> None:
        """Acts on what the daemon tells unasked."""
        if self._app is not None:
            self._app.on_push(push)
        if push.WhichOneof("kind") == "run_warned":
            self._take_warning(push.run_warned)
        if push.WhichOneof("kind") != "run_stopped" or push.run_stopped.run != self._plan.run:
            return
        self._stopped = True
        if push.run_stopped.now and not self._killed:
            self._killed = True
            self._group.start_soon(self._end_program)

    def _take_warning(self, warned: shim_pb2.RunWarned) -> None:
        """Tells of a warning: at once beside the line that was asked for, and else at the end."""
        if self._line is not None and warned.used < warned.limit:
            say(warning_line(warned))
        elif len(self._warned) < _MOST_WARNINGS:
            self._warned.append(warned)

    async def _end_program(self) -> None:
        if self._child.pid:
            await anyio.to_thread.run_sync(end_tree, self._child.pid)

    def _hurry(self) -> None:
        """The person does not want to wait for what there is still to do."""
        if self._app is not None and not self._hosted.is_set():
            self._app.cut()
        else:
            self._confirming.cancel()

    def _conclude(self, account: types_pb2.Account | None) -> int:
        """Says what the run came to, and returns the exit code."""
        run = self._plan.run
        if account is None:
            say(f"run {run} ended, its totals are not known: {self._trouble} (`leashctl inspect {run}` may know them)")
        else:
            # At the end: before that the terminal is the program's. What stopped the run needs no warning any more.
            warnings = (warning_line(warned) for warned in self._warned if warned.reason != account.reason)
            notices = (*warnings, would_stop_line(account), unresolved_line(account), self._silence(account))
            for notice in filter(None, notices):
                say(notice)
            say(end_line(account))
            self._stopped = account.status in _STOPPED
        if self._stopped or self._child.exit_code is None:
            return EXIT_STOPPED
        return self._child.exit_code

    def _silence(self, account: types_pb2.Account) -> str:
        """Why the program may have made no governed call; empty where it made one, and where that is plain.

        It is for a run that was stopped, and for a program that was ended from outside before it came to its first.
        """
        code = self._child.exit_code
        was_ended = code is None or SIGNALLED < code < SIGNALLED + signal.NSIG
        if was_ended or account.status in _STOPPED or _calls(account) > self._calls_before:
            return ""
        seen = {kind.value: count for kind, count in self._app.seen.items()} if self._app is not None else {}
        turned_away = self._door.turned_away if self._door is not None else 0
        return silence_line(seen, turned_away=turned_away, failed=code != 0)


def _calls(account: types_pb2.Account) -> int:
    """How many calls of a run have ever been admitted and not taken back, as far as they are over."""
    return account.calls + account.unresolved_calls


def _import_hosting() -> ModuleType:
    """Imports the server and the client for the providers, which takes longer than everything else together."""
    from leashctl import hosting  # noqa: PLC0415

    return hosting
