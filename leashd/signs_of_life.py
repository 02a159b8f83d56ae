"""What systemd sees of the daemon: that it is ready, what it does in one line, and that its committer gets on.

The rule: the watchdog is fed by rounds of the committer, and by nothing else. A daemon that answers and cannot decide
is one that hangs.
"""

from __future__ import annotations

import faulthandler

import anyio

from leash.notify import Notifier
from leashd.committer import Committer

LOOK_S = 5.0  # between looks at what the status line says; nobody watches it more closely
ROUNDS_WATCHED_S = 1.0  # between looks at whether a round has ended, while one is waited for


class SignsOfLife:
    """Tells systemd how one daemon is, by ``notifier``."""

    def __init__(self, notifier: Notifier, committer: Committer, ledger: str) -> None:
        self._notifier = notifier
        self._committer = committer
        self._ledger = ledger
        self._said = ""

    def ready(self) -> None:
        """It serves, from the start on or again after a reload."""
        self._said = self._line()
        self._notifier.ready(self._said)

    def reloading(self) -> None:
        """It reads its configuration; ``ready`` follows."""
        self._notifier.reloading()

    def stopping(self) -> None:
        """It commits what was asked, and ends."""
        self._notifier.stopping("committing what was asked")

    async def run(self) -> None:
        """Keeps the status line, and the watchdog, for as long as the daemon serves."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_status)
            if self._notifier.watchdog_interval_s is not None:
                tasks.start_soon(self._feed_watchdog, self._notifier.watchdog_interval_s)

    async def _keep_status(self) -> None:
        while True:
            await anyio.sleep(LOOK_S)
            line = self._line()
            if line != self._said:
                self._said = line
                self._notifier.status(line)

    async def _feed_watchdog(self, interval_s: float) -> None:
        # Of a daemon that hangs the log then has where: the watchdog ends it by SIGABRT.
        faulthandler.enable()
        while True:
            rounds = self._committer.rounds
            self._committer.nudge()
            # Told soon after a round has ended, and not at the next interval: a sync may take nearly all of the time
            # that systemd gives.
            while self._committer.rounds == rounds:  # noqa: ASYNC110 - the committer is not to know of it
                await anyio.sleep(min(ROUNDS_WATCHED_S, interval_s / 10))
            self._notifier.alive()
            await anyio.sleep(interval_s)

    def _line(self) -> str:
        if self._committer.read_only:
            return f"{self._ledger} cannot be written: calls are refused until it can"
        sessions = self._committer.engine.connected_sessions
        shims = "1 shim" if sessions == 1 else f"{sessions} shims"
        return f"{shims} connected, {self._committer.figures.operations} operations committed to {self._ledger}"
