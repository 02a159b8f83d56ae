"""One random life of a world, and its end: everybody comes back who can, says what there is to say, and leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.property.audit import Asked
from tests.property.daemon import Fault
from tests.property.profiles import CENT, SECOND_NS
from tests.property.rules import expect
from tests.property.shims import Declared, Phase, Shim, ShimCall
from tests.property.world import World, served_by_chance

MAX_LIVE_CALLS = 40  # of one world: enough for a crowd at the edge of a budget
MAX_TICKS = 200  # at the end of a world; with every limit of it far below that many seconds


class Life:
    """Chooses what happens next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        profile = world.profile
        quiet = 1.0 - profile.trouble - profile.persons
        self._actions: tuple[tuple[float, Callable[[], Awaitable[None]]], ...] = (
            (0.32 * quiet, self._reserve),
            (0.34 * quiet, self._proceed),
            (0.08 * quiet, self._time_passes),
            (0.08 * quiet, self._open_or_close),
            (0.06 * quiet, self._acknowledge),
            (0.12 * quiet, self._connect),
            (profile.persons, self._person),
            (profile.trouble, self._trouble),
        )

    async def live(self, steps: int) -> None:
        """So many steps, and then the end."""
        world = self.world
        await world.store_prices()
        for _ in range(2):
            world.add_shim()
            await self._settle_down()
            await self._open_or_close()
        for _ in range(steps):
            weights = [weight for weight, _ in self._actions]
            _, action = self.random.choices(self._actions, weights)[0]
            await action()
            if self.random.random() < 0.8:
                for link in world.links():
                    world.uplink(link, None if self.random.random() < 0.8 else self.random.randint(0, 3))
            await world.flush()
            if self.random.random() < 0.8:
                for link in world.links():
                    world.downlink(link, None if self.random.random() < 0.8 else self.random.randint(0, 3))
        await self._end()

    # What shims do

    def _shim(self) -> Shim | None:
        standing = [shim for shim in self.world.shims if shim.stands and not shim.dead]
        return self.random.choice(standing) if standing else None

    async def _connect(self) -> None:
        world = self.world
        away = [shim for shim in world.shims if shim.link is None and not shim.dead]
        if away:
            shim = self.random.choice(away)
            world.note(f"{shim.session.hex()[:4]} connects")
            shim.connect()
        elif sum(not shim.dead for shim in world.shims) < world.profile.shims:
            shim = world.add_shim()
            world.note(f"{shim.session.hex()[:4]} is new")

    async def _open_or_close(self) -> None:
        shim = self._shim()
        if shim is None:
            return
        run = self.random.choice(sorted(self.world.limits))
        if run in shim.opened and self.random.random() < 0.2:
            if not any(call.run == run for call in shim.live(Phase.ASKED)):
                unfinished = shim.bounds is not None and self.random.random() < 0.5
                self.world.note(f"{shim.session.hex()[:4]} closes {run}{', unfinished' if unfinished else ''}")
                shim.close_run(run, unfinished=unfinished)
            return
        declared = self._declared(run, shim)
        self.world.note(f"{shim.session.hex()[:4]} opens {run} with {declared}")
        shim.open_run(run, declared)

    def _declared(self, run: str, shim: Shim) -> Declared:
        """What a shim says of a run; a gateway may say anything, also what is looser than what it has said before."""
        random, given, lowered = self.random, dict(self.world.limits[run]), {}
        if random.random() < 0.05:
            given["max_calls"] = random.randint(5, 40)
        if shim.bounds is not None and random.random() < 0.5:
            given = self.world.profile.limits(random)
        if shim.bounds is not None and random.random() < 0.5:
            lowered = {"max_cost_nanodollars": random.choice((0, CENT, 40 * CENT)), "max_calls": random.choice((0, 6))}
        return Declared(given, random.choices([*self.world.price_tables], (0.8, 0.2))[0], lowered)

    async def _reserve(self) -> None:
        shim = self._shim()
        live = sum(len(other.live(Phase.ASKED, Phase.ADMITTED, Phase.IN_FLIGHT)) for other in self.world.shims)
        if shim is None or not shim.opened or live >= MAX_LIVE_CALLS:
            return
        run = self.random.choice(sorted(shim.opened))
        for _ in range(self.random.choice((1, 1, 2, 4, 8))):
            call = self.world.new_call(run, self._asked())
            self.world.note(f"{shim.session.hex()[:4]} reserves {call.id.hex()[:8]} of {run}: {call.asked}")
            shim.reserve(call)

    def _asked(self) -> Asked:
        random = self.random
        model = random.choice(self.world.profile.models)
        return Asked(
            model=model,
            input_bound=random.choice((None, 100, 1000)),
            output_bound=random.choice((None, 50, 200, 2000)),
            choices=random.choice((1, 1, 1, 3)),
            server_tools=model == "tool" and random.random() < 0.5,
            unmeterable=random.random() < self.world.profile.blind,
        )

    async def _proceed(self) -> None:
        """Calls are forwarded, and come to their ends."""
        for shim in self.world.shims:
            if shim.dead:
                continue
            for call in shim.live(Phase.ADMITTED, Phase.IN_FLIGHT, Phase.ASKED):
                if self.random.random() < 0.5:
                    self._proceed_with(shim, call)
            for call in list(shim.unacknowledged):
                known = shim.calls[call]
                if known.told == "unresolved" and known.reached and self.random.random() < 0.05:
                    self.world.note(f"{shim.session.hex()[:4]} settles {call.hex()[:8]} after all")
                    shim.amend(known)

    def _proceed_with(self, shim: Shim, call: ShimCall) -> None:
        world, dice = self.world, self.random.random()
        said = ""
        if call.phase is Phase.ASKED and shim.link is None and dice < 0.2:
            world.note(f"{shim.session.hex()[:4]} drops {call.id.hex()[:8]} while it is away")
            shim.drop(call)
        elif call.phase is Phase.ASKED:
            said = "cancel" if dice < 0.05 else ""
        elif call.phase is Phase.ADMITTED:
            if dice < 0.12:
                said = "void" if dice < 0.07 else "cancel"
            else:
                world.forward(call, served_by_chance(world, call))
                world.note(f"{call.id.hex()[:8]} is forwarded, and served {call.served}")
        elif dice < 0.1:
            said = "abandon"
            call.known = call.served.tokens if call.served is not None and dice < 0.05 else None
        else:
            said = "settle"
        if said:
            world.note(f"{shim.session.hex()[:4]} says of {call.id.hex()[:8]}: {said}")
            shim.close(call, said)

    async def _acknowledge(self) -> None:
        for shim in self.world.shims:
            if not shim.dead and self.random.random() < 0.5:
                shim.acknowledge()

    # Time, people and trouble

    async def _time_passes(self) -> None:
        self.world.advance()
        self.world.note("now")

    async def _person(self) -> None:
        world = self.world
        actions = (world.person_kills, world.person_raises, world.person_resolves, world.person_prunes)
        self.random.choices(actions, (1, 6, 4, 3))[0]()

    async def _trouble(self) -> None:
        world, random = self.world, self.random
        dice = random.random()
        alive = [shim for shim in world.shims if not shim.dead]
        if dice < 0.4 and alive:
            shim = random.choice(alive)
            world.note(f"the stream of {shim.session.hex()[:4]} ends")
            world.sever(shim)
        elif dice < 0.46 and alive:
            shim = random.choice(alive)
            world.note(f"{shim.session.hex()[:4]} is killed")
            world.kill_shim(shim)
        elif dice < 0.56 and world.unnoticed:
            world.submit(world.unnoticed.pop(0))
        elif dice < 0.8:
            world.plant(random.choice((Fault.FAIL, Fault.FAIL, Fault.CRASH_BEFORE, Fault.CRASH_AFTER)))
        elif dice < 0.88:
            world.note("the daemon dies")
            await world.restart()
        else:
            world.stranger_closes()

    # The end

    async def _settle_down(self) -> None:
        """Everything that is on its way arrives."""
        for _ in range(MAX_TICKS):
            self.world.deliver_all()
            await self.world.flush()
            if not any(link.up or link.down for link in self.world.links()):
                return
        expect(holds=False, message="the streams never fall silent")

    async def _end(self) -> None:
        world = self.world
        world.note("the end begins")
        world.daemon.ledger.fault = None
        for ended in world.unnoticed:
            world.submit(ended)
        for _ in range(MAX_TICKS):
            for shim in world.shims:
                if not shim.dead and shim.link is None:
                    shim.connect()
            await self._settle_down()
            for shim in world.shims:
                for call in () if shim.dead else shim.live(Phase.ADMITTED, Phase.IN_FLIGHT):
                    self._finish(shim, call)
            await self._settle_down()
            waiting = [call for shim in world.shims if not shim.dead for call in shim.live(*list(Phase)[:4])]
            next_ns = world.daemon.engine.next_tick_ns()
            if not waiting and next_ns is None:
                break
            if next_ns is not None:
                world.clock.at_ns = max(world.clock.at_ns, next_ns)
        expect(not waiting, f"{len(waiting)} calls are never answered: {waiting[:3]}")
        world.clock.at_ns += 60 * SECOND_NS
        await world.flush()
        world.truth.check_end()
        world.inspector.check_ledger()

    def _finish(self, shim: Shim, call: ShimCall) -> None:
        if call.phase is Phase.ADMITTED:
            self.world.forward(call, served_by_chance(self.world, call))
        shim.close(call, "settle")
