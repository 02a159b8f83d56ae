"""A simulated world around a real daemon: people, shims, a provider, and whatever can go wrong between them.

Everything that happens follows from one seed. After each step the world is held against what the design promises.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from leashd.operations import Disconnected, Kill, Prune, Raise, Resolve, SettleCall, VoidCall
from leashd.pricing import read_prices
from tests.property.audit import Asked, Books, Bounds, CallLine
from tests.property.daemon import Clock, Daemon, Fault
from tests.property.inspector import Inspector
from tests.property.profiles import CENT, SECOND_NS, Profile
from tests.property.provider import DEARER, MODELS, Provider, Served, Tokens, price_list
from tests.property.rules import expect
from tests.property.shims import Link, Phase, Sent, Shim, ShimCall
from tests.property.truth import Truth

GRACE_NS = 2 * SECOND_NS
TABLES = (price_list(MODELS), price_list(DEARER))
PERSON = 4242


class World:
    """One seed's world."""

    def __init__(self, directory: Path, seed: int, profile: Profile) -> None:
        self.random = Random(f"{profile.name} {seed}")
        self.profile = profile
        self.clock = Clock()
        self.daemon = Daemon(directory, self.clock)
        self.provider = Provider()
        self.shims: list[Shim] = []
        self.calls: dict[bytes, ShimCall] = {}
        self.outstanding: list[Sent] = []  # delivered to this life of the daemon, and not answered
        self.unnoticed: list[Disconnected] = []  # streams that are cut, and the daemon has not seen it
        self.limits = {run: profile.limits(self.random) for run in profile.runs}
        self.story: deque[str] = deque(maxlen=400)
        hashes = [hashlib.sha256(text).digest() for text in TABLES]
        self.price_tables = dict(zip(hashes, TABLES, strict=True))
        by_id = {hashes[0][:8]: MODELS, hashes[1][:8]: DEARER}
        self.books = Books(lambda call: self.calls[call].asked)
        self.inspector = Inspector(self.daemon, self.clock, self.books, by_id, self.gateways)
        self.truth = Truth(self)

    def gateways(self) -> dict[bytes, Bounds]:
        """The sessions that open runs for others, with the bounds under which they do."""
        return {shim.session: shim.bounds for shim in self.shims if shim.bounds is not None}

    # The daemon's side

    def submit(self, operation: Any, reply: Callable[[Any], None] = lambda _: None) -> None:
        self.daemon.submit(operation, reply)

    def deliver(self, sent: Sent) -> None:
        """One operation arrives at the daemon."""
        sent.submitted_at_ns = self.clock.at_ns
        sent.link.greeted = True
        book = self.books.runs.get(getattr(sent.operation, "run", ""))
        sent.may_wait_ns = book.limits.hold_wait_ns if book is not None else None
        self.outstanding.append(sent)

        def reply(answer: Any) -> None:
            sent.answers += 1
            self.truth.answered(sent, answer)
            if sent.link.alive:
                sent.link.down.append((sent, answer))

        self.submit(sent.operation, reply)

    async def flush(self) -> None:
        """Lets the daemon do all that it has been asked, and checks everything that has to hold after it."""
        if not await self.daemon.flush():
            self.note("the daemon dies over a commit")
            await self.restart()
            return
        self.inspector.catch_up()
        self.inspector.check_counts()
        self.truth.check()

    async def restart(self) -> None:
        """The daemon dies, and another one takes its place; every stream breaks."""
        for shim in self.shims:
            shim.cut()
        self.outstanding.clear()
        self.unnoticed.clear()
        self.inspector.catch_up()
        await self.daemon.crash()
        self.inspector.check_ledger()
        self.inspector.check_counts()
        self.truth.check()

    async def store_prices(self) -> None:
        for text in TABLES:
            self.submit(read_prices(text))
        await self.flush()

    # What shims and the network do

    def add_shim(self) -> Shim:
        shim = Shim(self.random.randbytes(8), twice=lambda: self.random.random() < self.profile.twice)
        if self.random.random() < self.profile.gateways:
            shim.bounds = Bounds(self.profile.max_open_runs, self.profile.max_runs)
        self.shims.append(shim)
        shim.connect()
        return shim

    def uplink(self, link: Link, count: int | None = None) -> None:
        """The next operations of a stream arrive."""
        for _ in range(len(link.up) if count is None else min(count, len(link.up))):
            self.deliver(link.up.popleft())

    def downlink(self, link: Link, count: int | None = None) -> None:
        """The next answers of a stream arrive."""
        for _ in range(len(link.down) if count is None else min(count, len(link.down))):
            if not link.down:
                return
            sent, answer = link.down.popleft()
            sent.take(answer)
            if not link.alive:
                self.submit(Disconnected(link.shim.session, link))  # its hello was declined, so the shim hung up

    def deliver_all(self) -> None:
        for link in self.links():
            self.downlink(link)
            self.uplink(link)

    def links(self) -> list[Link]:
        return [shim.link for shim in self.shims if shim.link is not None]

    def sever(self, shim: Shim) -> None:
        """A stream ends; the daemon notices at once or later, or only by the next hello."""
        link = shim.link
        if link is None:
            return
        shim.cut()
        if link.greeted:
            ended = Disconnected(shim.session, link)
            if self.random.random() < 0.6:
                self.submit(ended)
            else:
                self.unnoticed.append(ended)

    def kill_shim(self, shim: Shim) -> None:
        """kill -9: nothing more comes from it. Its stream's end is noticed, since the kernel closes its socket."""
        shim.dead = True
        self.sever(shim)

    def owner(self, call: ShimCall) -> Shim:
        return next(shim for shim in self.shims if call.id in shim.calls)

    def line(self, call: ShimCall) -> CallLine | None:
        """The call as the books have it."""
        book = self.books.runs.get(call.run)
        return book.calls.get(call.id) if book is not None else None

    def new_call(self, run: str, asked: Asked) -> ShimCall:
        call = ShimCall(self.random.randbytes(16), run, asked)
        self.calls[call.id] = call
        return call

    def forward(self, call: ShimCall, served: Served) -> None:
        """The call reaches the provider, which serves it; the shim does not know yet what it will say."""
        expect("Reserved" in self.daemon.written.calls.get(call.id, ()), "a call was forwarded that is not durable")
        call.served = self.provider.serve(call.id, served)
        call.phase = Phase.IN_FLIGHT

    # What people do

    def person_kills(self) -> None:
        every = self.random.random() < 0.2
        runs = tuple(sorted(self.books.runs) if every else self.random.sample(sorted(self.limits), 1))
        self.note(f"a person kills {runs}")
        self.submit(Kill(runs=runs, now=self.random.random() < 0.3, actor_uid=PERSON))

    def person_raises(self) -> None:
        stopped = sorted(name for name, book in self.books.runs.items() if book.stop is not None)
        run = self.random.choice(stopped if stopped and self.random.random() < 0.8 else sorted(self.limits))
        given = {
            name: self.random.choice((0, value, 2 * value))
            for name, value in self.limits[run].items()
            if name not in ("strict", "observe", "on_blind", "warn_at_ppm", "rate_window_ns", "rate_tokens")
            and self.random.random() < 0.7
        }
        book = self.books.runs.get(run)
        if book is not None and "max_cost_nanodollars" in given and given["max_cost_nanodollars"]:
            given["max_cost_nanodollars"] += book.token_cost
        self.note(f"a person raises {run}: {given}")
        self.submit(Raise(run=run, given=given, resume=self.random.random() < 0.8, actor_uid=PERSON))

    def person_resolves(self) -> None:
        unresolved = [(name, call) for name, book in self.books.runs.items() for call in book.in_state("unresolved")]
        if not unresolved:
            return
        run, line = self.random.choice(unresolved)
        cost = self.random.choice((None, 0, CENT // 10, CENT))
        self.note(f"a person resolves {line.call.hex()[:8]} of {run} at {cost}")
        prefix = line.call[: self.random.choice((3, 16))]
        self.submit(Resolve(run=run, call_prefix=prefix, cost_nanodollars=cost, actor_uid=PERSON))

    def person_prunes(self) -> None:
        """Of every run, whatever it is doing; only those that nobody uses may lose entries."""
        age_ns = self.random.choice((0, 0, SECOND_NS, 20 * SECOND_NS))
        self.note(f"a person prunes what is older than {age_ns / SECOND_NS:g} s")
        self.submit(Prune(tuple(sorted(self.books.runs)), self.clock.at_ns - age_ns, PERSON))

    def stranger_closes(self) -> None:
        """Another session says how a call ended; it must not be believed."""
        links = [link for link in self.links() if link.shim.stands]
        calls = [call for call in self.calls.values() if call.phase is not Phase.OVER]
        if not links or not calls:
            return
        link, call = self.random.choice(links), self.random.choice(calls)
        if call.id in link.shim.calls:
            return
        session = link.shim.session
        if self.random.random() < 0.5:
            operation: Any = VoidCall(session, link, call.run, call.id)
        else:
            operation = SettleCall(
                session=session,
                link=link,
                run=call.run,
                call=call.id,
                http_status=200,
                usage=None,
                model="",
                fingerprint=b"",
            )

        def reply(answer: Any) -> None:
            expect(type(answer).__name__ == "Failed", f"a stranger's word was taken: {answer}")

        self.submit(operation, reply)

    # Time and trouble

    def advance(self) -> None:
        """Time passes: a little, up to the daemon's next tick, or past the grace."""
        next_ns = self.daemon.engine.next_tick_ns()
        choices = [self.random.randint(1, SECOND_NS), self.random.randint(1, SECOND_NS), GRACE_NS + 1, 10 * SECOND_NS]
        if next_ns is not None:
            choices += [max(0, next_ns - self.clock.at_ns)] * 3
        self.clock.at_ns += self.random.choice(choices)

    def plant(self, fault: Fault) -> None:
        self.note(f"the next commit: {fault.value}")
        self.daemon.ledger.fault = fault

    def note(self, what: str) -> None:
        self.story.append(f"{(self.clock.at_ns // 1_000_000) % 10**9:>10} ms  {what}")


def served_by_chance(world: World, call: ShimCall) -> Served:
    """What the provider makes of a call: always within what the request allows."""
    random, asked = world.random, call.asked
    if random.random() < 0.08:
        return Served(status=random.choice((400, 429, 500)), tokens=None, model="", fingerprint=b"")
    fingerprint = random.choice((b"same----", b"same----", b"same----", b"", random.randbytes(8)))
    if random.random() < world.profile.blind:
        return Served(status=200, tokens=None, model=asked.model, fingerprint=fingerprint)
    most_input = min(asked.input_bound or 400, 2000)
    tokens = Tokens(
        input=random.randint(most_input // 2, most_input),
        cached=random.randint(0, most_input // 2) if random.random() < 0.3 else 0,
        output=random.randint(0, (asked.output_bound or 500) * asked.choices),
        searches=random.choice((0, 1, 3)) if asked.server_tools else 0,
    )
    return Served(status=200, tokens=tokens, model=asked.model or "alpha", fingerprint=fingerprint)
