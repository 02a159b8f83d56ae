"""The runs that one worker has open: opened with the first call of each, closed when they have had none for a while.

The rule: a run is open in the daemon for as long as a call of it is under way here. Many requests that come at once
for one run share its opening, and a daemon that does not answer; one that comes while its run is being closed waits,
and opens it again.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Protocol

from leash.client.errors import ClientError, DaemonUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

# Runs that are closed at the same time: each costs the daemon an entry, and calls should not wait behind thousands.
_CLOSED_TOGETHER = 64

# An idle run is closed this part of its idle time late, at most: a look at all runs takes a millisecond a thousand.
_LOOKS_PER_IDLE_TIME = 4
_SHORTEST_BETWEEN_LOOKS_S = 0.01
_LONGEST_BETWEEN_LOOKS_S = 30.0


class RunCloser(Protocol):
    """The part of a session that closes runs. ``leash.client.session.ShimSession`` has it."""

    async def close_run(self, run: str, *, unfinished: bool = False) -> object:
        """Closes a run; ``unfinished`` where its agent goes on. Raises ``ClientError``."""
        ...


class _Run:
    """One run. ``opened_as`` is the generation of settings under which it was opened last; 0 for none.

    ``in_vain`` counts the attempts to open it that a daemon did not answer, the last of them with ``trouble``.
    """

    __slots__ = ("calls", "in_vain", "last_call_s", "lock", "opened_as", "trouble")

    def __init__(self) -> None:
        self.calls = 0
        self.last_call_s = 0.0
        self.opened_as = 0
        self.in_vain = 0
        self.trouble = ""
        self.lock = asyncio.Lock()

    def is_idle(self, before_s: float) -> bool:
        """Whether it has no call, and has had none since then."""
        return not self.calls and self.last_call_s <= before_s


class RunRegistry:
    """Which runs are open in a session. ``now`` tells seconds on a clock that only goes on.

    ``idle_s`` is how long a run without calls stays open; zero for as long as the session.
    """

    def __init__(self, session: RunCloser, *, idle_s: float, now: Callable[[], float]) -> None:
        self._session = session
        self._now = now
        self._runs: dict[str, _Run] = {}
        self._closing: dict[str, asyncio.Event] = {}
        self._generation = 1
        self.idle_s = idle_s

    def __len__(self) -> int:
        """How many runs are open."""
        return len(self._runs)

    async def enter(self, name: str, open_run: Callable[[], Awaitable[None]]) -> None:
        """Counts a call of a run, which ``open_run`` opens where it is not open under the settings of now.

        Raises what ``open_run`` raises, and has counted nothing then.
        """
        while (closing := self._closing.get(name)) is not None:
            await closing.wait()
        run = self._runs.get(name)
        if run is None:
            run = self._runs[name] = _Run()
        run.calls += 1
        try:
            while run.opened_as != self._generation:
                await self._open(run, open_run)
        except BaseException:
            self.leave(name)
            raise

    def leave(self, name: str) -> None:
        """A call of a run is over."""
        run = self._runs[name]
        run.calls -= 1
        run.last_call_s = self._now()
        if not run.calls and not run.opened_as:
            del self._runs[name]

    def reopen_all(self) -> None:
        """Has each run opened anew before its next call, since the settings have changed."""
        self._generation += 1

    async def watch(self) -> None:
        """Closes runs that are idle, for as long as it runs."""
        while True:
            pause_s = self.idle_s / _LOOKS_PER_IDLE_TIME or _LONGEST_BETWEEN_LOOKS_S
            await asyncio.sleep(min(max(pause_s, _SHORTEST_BETWEEN_LOOKS_S), _LONGEST_BETWEEN_LOOKS_S))
            await self.close_idle()

    async def close_idle(self) -> None:
        """Closes the runs that have had no call for the idle time: they are finished, until somebody comes back."""
        if self.idle_s:
            await self._close(before_s=self._now() - self.idle_s, unfinished=False)

    async def close_all(self) -> None:
        """Closes every run without a call, as one whose agent goes on: it is the gateway that ends."""
        await self._close(before_s=inf, unfinished=True)

    async def _open(self, run: _Run, open_run: Callable[[], Awaitable[None]]) -> None:
        """Opens a run, once nobody else does."""
        in_vain = run.in_vain
        async with run.lock:
            generation = self._generation
            if run.opened_as == generation:
                return
            if run.in_vain != in_vain:
                # Somebody has waited for the daemon meanwhile: were each to wait in turn, the last would for hours.
                raise DaemonUnavailable(run.trouble)
            try:
                await open_run()
            except DaemonUnavailable as error:
                run.in_vain, run.trouble = run.in_vain + 1, str(error)
                raise
            run.opened_as = generation

    async def _close(self, *, before_s: float, unfinished: bool) -> None:
        """Closes the runs whose last call ended before then, until the daemon cannot be asked."""
        names = [name for name, run in self._runs.items() if run.is_idle(before_s)]
        for start in range(0, len(names), _CLOSED_TOGETHER):
            # A call may have come for one of them while those before it were closed.
            together = []
            for name in names[start : start + _CLOSED_TOGETHER]:
                run = self._runs.get(name)
                if run is not None and run.is_idle(before_s):
                    # From here on a call of it waits; a task begins only later.
                    self._closing[name] = asyncio.Event()
                    together.append((name, self._runs.pop(name)))
            closed = await asyncio.gather(*(self._close_one(*each, unfinished=unfinished) for each in together))
            if not all(closed):
                return

    async def _close_one(self, name: str, run: _Run, *, unfinished: bool) -> bool:
        """Closes a run; whether the daemon could be asked."""
        try:
            await self._session.close_run(name, unfinished=unfinished)
        except ClientError as error:
            # It is open in the daemon still: it is tried again after another idle time.
            log.warning("run %s could not be closed: %s", name, error)
            run.last_call_s = self._now()
            self._runs[name] = run
            return not isinstance(error, DaemonUnavailable)
        finally:
            self._closing.pop(name).set()
        return True
