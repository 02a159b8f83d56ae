"""Takes what is in the outbox out into the world, off the path of every call.

The rule: a notice leaves the outbox only by an operation of the committer, after it was delivered, given up or dropped.
So it goes out at least once, whatever ends the daemon, and always with the same id. Nothing that goes wrong here ends
the daemon, or holds up a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import structlog

from leash.units import NANOSECONDS_PER_SECOND
from leashd.activity import Activity
from leashd.asking import asked
from leashd.committer import Committer
from leashd.core.outbox import LONGEST_PAUSE_NS, Failure, OutboxKey, Pending, QueueKey, failed, key_of
from leashd.core.reactions import Reactions, Target
from leashd.ledger.protocol import Ledger
from leashd.operations import Failed, RecordAttempt
from leashd.reactions.hook import run_hook
from leashd.reactions.key import KeyTroubleError, own_key, read_key
from leashd.reactions.place import place_of, where
from leashd.reactions.schedule import Schedule
from leashd.reactions.telling import body, variables

if TYPE_CHECKING:
    from leashd.reactions.webhook import WebhookSender

UNWRITTEN_PAUSE_S = 1.0  # until the outcome of an attempt is offered again to a ledger that could not be written
QUEUES_PAGE = 256  # read at the start between two other tasks: a millisecond

_log = structlog.get_logger("leashd.reactions")


class Deliverer:
    """Delivers the notices of one ledger. ``random`` is for pauses, so that runs do not knock at a door together."""

    def __init__(self, committer: Committer, ledger: Ledger, activity: Activity, random: Random) -> None:
        self._committer = committer
        self._ledger = ledger
        self._activity = activity
        self._random = random
        self._schedule = Schedule(lambda queue: place_of(self._committer.engine.reactions(queue.number), queue.target))
        self._changed = asyncio.Event()
        self._staying = ExitStack()
        self._is_staying = False
        self._sender: WebhookSender | None = None
        self._making_sender = anyio.Lock()

    async def run(self) -> None:
        """Delivers until it is cancelled; what is under way then is delivered again after the next start."""
        self._committer.on_outbox = self._take
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._recover)
                while True:
                    self._changed.clear()
                    while (queue := self._schedule.take(self._committer.now_ns())) is not None:
                        tasks.start_soon(self._attend, queue)
                        await anyio.lowlevel.checkpoint()  # thousands may be due at once
                    self._stay()
                    await self._until_due()
        finally:
            if self._sender is not None:
                with anyio.CancelScope(shield=True):
                    await self._sender.close()

    async def _recover(self) -> None:
        """Takes up what an earlier life of the daemon has left."""
        for count, queue in enumerate(self._ledger.outbox_queues(), start=1):
            self._schedule.add(queue, 0)
            if count % QUEUES_PAGE == 0:
                await anyio.lowlevel.checkpoint()
        self._changed.set()

    def _take(self, changes: Mapping[OutboxKey, Pending | None]) -> None:
        """What was committed."""
        for key, pending in changes.items():
            if pending is not None and not pending.dead:
                self._schedule.add(key.queue, pending.next_attempt_at_ns)
                self._changed.set()

    def _stay(self) -> None:
        """A daemon that leaves when nobody uses it stays as long as there is something to tell."""
        if bool(self._schedule) is self._is_staying:
            return
        self._is_staying = not self._is_staying
        if self._is_staying:
            self._staying.enter_context(self._activity.busy())
        else:
            self._staying.close()

    async def _until_due(self) -> None:
        due_ns = self._schedule.next_due_ns()
        delay_s = None if due_ns is None else max(0, due_ns - self._committer.now_ns()) / NANOSECONDS_PER_SECOND
        try:
            async with asyncio.timeout(delay_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _attend(self, queue: QueueKey) -> None:
        """Tries the first notice of a queue once."""
        try:
            pending = self._ledger.first_pending(queue)
            if pending is not None and pending.next_attempt_at_ns <= self._committer.now_ns():
                after = await self._attempt(pending, queue.target)
                await self._record(key_of(pending.notice, queue.target), after)
                pending = self._ledger.first_pending(queue)
            due_ns = None if pending is None else pending.next_attempt_at_ns
        except Exception:  # noqa: BLE001 - whatever it is, no call is to suffer for it
            _log.exception("delivery_failed_inside", number=queue.number, target=queue.target.label)
            due_ns = self._committer.now_ns() + LONGEST_PAUSE_NS
        self._schedule.done(queue, due_ns)
        self._changed.set()

    async def _attempt(self, pending: Pending, target: Target) -> Pending | None:
        """What becomes of a notice by one attempt; None where it was delivered."""
        notice = pending.notice
        began_at_ns = self._committer.now_ns()
        reactions = self._committer.engine.reactions(notice.number)
        if not where(reactions, target):
            failure: Failure | None = Failure(f"the run has no {target.label} any more", final=True)
        else:
            try:
                failure = await self._tell(pending, target, reactions)
            except Exception as error:  # noqa: BLE001 - whatever it is, no call is to suffer for it
                # It counts as an attempt: what nobody has foreseen is given up in its time as well.
                _log.exception("delivery_failed_inside", number=notice.number, target=target.label)
                failure = Failure(f"{type(error).__name__} inside leashd: its log has more")
        told = {"run": notice.run, "notice": notice.id, "what": notice.kind.label, "target": target.label}
        if failure is None:
            _log.info("notice_delivered", **told, attempts=pending.attempts + 1)
            return None
        after = failed(
            pending,
            failure,
            began_at_ns=began_at_ns,
            now_ns=self._committer.now_ns(),
            jitter=self._random.random(),
        )
        log = _log.error if after.dead else _log.warning
        log("notice_given_up" if after.dead else "notice_failed", **told, attempts=after.attempts, error=failure.error)
        return after

    async def _tell(self, pending: Pending, target: Target, reactions: Reactions) -> Failure | None:
        """One attempt; why it failed, or None where it was delivered."""
        if target is Target.WEBHOOK:
            return await self._post(pending, reactions)
        timeout_s = reactions.hook_timeout_ns / NANOSECONDS_PER_SECOND
        return await run_hook(reactions.hook, timeout_s=timeout_s, variables=variables(pending.notice))

    async def _post(self, pending: Pending, reactions: Reactions) -> Failure | None:
        file = reactions.webhook_secret_file
        try:
            # In a thread: the file may lie on a disk that does not answer.
            key = await (
                anyio.to_thread.run_sync(read_key, Path(file))
                if file
                else anyio.to_thread.run_sync(own_key, Path(self._ledger.path))
            )
        except KeyTroubleError as error:
            return Failure(str(error))
        sender = await self._ready_sender()
        return await sender.send(reactions.webhook, notice_id=pending.notice.id, body=body(pending.notice), key=key)

    async def _ready_sender(self) -> WebhookSender:
        async with self._making_sender:
            if self._sender is None:
                # In a thread: the import takes a quarter of a second, in which calls go on.
                self._sender = (await anyio.to_thread.run_sync(_import_sender))()
            return self._sender

    async def _record(self, key: OutboxKey, after: Pending | None) -> None:
        """Has the outcome of an attempt written; it is kept until it is."""
        while isinstance(await asked(self._committer, RecordAttempt(key, after)), Failed):  # noqa: ASYNC110 - it asks each time
            await anyio.sleep(UNWRITTEN_PAUSE_S)


def _import_sender() -> type[WebhookSender]:
    from leashd.reactions.webhook import WebhookSender  # noqa: PLC0415 - heavy, and few daemons have a webhook

    return WebhookSender
