"""Whether an entry may be written where it stands: the rules of the design, in arithmetic of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from tests.property.audit import HOUR_NS, Books, Bounds, CallLine, RunBook
from tests.property.provider import Price, Tokens

BOUNDARIES = ("deadline", "cost_budget", "max_calls", "rate_limit", "stall")
BLIND = ("meter_blind", "unpriced_model", "server_tool_unpriced")
REFUSE, WARN = 1, 2
CAPS = ("max_cost_nanodollars", "max_calls", "deadline_ns", "stall_replies", "max_cost_per_call_nanodollars")

_TIGHTER: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys((*CAPS, "warn_at_ppm"), lambda new, old: not old or 0 < new <= old),
    "compute_rate_nanodollars_per_hour": lambda new, old: new > old,
    "on_blind": lambda new, old: new < old,
    "strict": lambda new, _old: new,
    "observe": lambda new, _old: not new,
}
"""For each limit, whether a change of it restrains the run more than before."""


class BrokenRuleError(AssertionError):
    """Something that the design forbids."""


def expect(holds: object, message: str) -> None:
    """Fails with what is broken."""
    if not holds:
        raise BrokenRuleError(message)


class Rules:
    """Judges each entry against the books as they are before it."""

    def __init__(
        self,
        books: Books,
        prices: Mapping[bytes, Mapping[str, Price]],
        gateways: Callable[[], Mapping[bytes, Bounds]],
    ) -> None:
        self._books = books
        self._prices = prices
        self._gateways = gateways

    def judge(self, run: str, seq: int, at_ns: int, event: Any) -> None:
        book = self._books.runs.get(run) or RunBook(run)
        expect(seq == book.seq + 1, f"entry {seq} of {run} follows {book.seq}")
        kind = type(event).__name__.lower()
        if book.owes_stop:
            expect(kind in ("stopped", "warned"), f"{run} owed a stop, and {kind} came first")
        rule = getattr(self, f"_{kind}", None)
        if rule is not None:
            rule(book, event, at_ns)

    def tripped(self, book: RunBook, now_ns: int) -> list[str]:
        """The boundaries that are surely reached, in order; the rate counts exact times, so it trips no earlier."""
        limits = book.limits
        window_ns = limits.rate_window_ns
        tokens = sum(count for at_ns, count in book.window if at_ns + window_ns > now_ns)
        reached = (
            limits.deadline_ns and book.episode_ns and now_ns - book.episode_ns >= limits.deadline_ns,
            limits.max_cost_nanodollars and book.spent(now_ns) >= limits.max_cost_nanodollars,
            limits.max_calls and book.counted >= limits.max_calls,
            limits.rate_tokens and tokens > limits.rate_tokens,
            limits.stall_replies and book.streak >= limits.stall_replies,
        )
        return [name for name, is_reached in zip(BOUNDARIES, reached, strict=True) if is_reached]

    # Runs

    def _checkpoint(self, book: RunBook, event: Any, _at_ns: int) -> None:
        expect(not book.openers, f"{book.run} was pruned while it was open")
        expect(not book.in_state("open") and not book.in_state("unresolved"), f"{book.run} was pruned with calls open")
        expect(event.account.seq == book.seq, f"the checkpoint of {book.run} stands for other entries")

    def _opened(self, book: RunBook, event: Any, _at_ns: int) -> None:
        if book.limits is None:
            expect(event.in_force is not None, "a new run has no limits")
            self._made(book.run, event.session)
            return
        finished = not book.openers and not book.in_state("open")
        expect(event.new_episode == (finished and book.closed_cleanly), "an episode begins where none may, or not")
        if event.in_force is None:
            return
        for name, restrains in _TIGHTER.items():
            new, old = getattr(event.in_force, name), getattr(book.limits, name)
            expect(new == old or restrains(new, old), f"an opener loosened {name} from {old} to {new}")
        rate, before = event.in_force, book.limits
        expect(
            not before.rate_tokens
            or (0 < rate.rate_tokens <= before.rate_tokens and rate.rate_window_ns >= before.rate_window_ns),
            f"an opener loosened the rate of {before} to {rate}",
        )

    def _made(self, run: str, session: bytes) -> None:
        """A run is made: a gateway makes none beyond its bounds."""
        bounds = self._gateways().get(session)
        if bounds is None:
            return
        are_open = sum(bool(book.openers) for book in self._books.runs.values())
        expect(are_open < bounds.open_runs, f"{run} was made while {are_open} runs were open")
        siblings = len(self._books.tenant(run))
        expect(siblings < bounds.runs, f"{run} was made beside {siblings} others of its tenant")

    def _closed(self, book: RunBook, event: Any, at_ns: int) -> None:
        expect(event.session in book.openers, "a session closed a run that it had not open")
        was_lost = event.until_ns < at_ns
        open_here = [call for call in book.in_state("open") if call.session == event.session]
        expect(not was_lost or not open_here, "a session was lost, and its calls stay open")
        expect(not (was_lost and event.clean), "a session was lost, and its run is finished")
        expect(event.clean or was_lost or event.session in self._gateways(), "a finished run counts as left")

    def _stopped(self, book: RunBook, event: Any, at_ns: int) -> None:
        reason = event.reason.value
        if reason == "kill_switch":
            expect(event.actor_uid is not None, "a kill names nobody")
            return
        expect(book.stop is None, f"{book.run} was stopped twice")
        expect(not book.limits.observe, f"{book.run} was stopped by {reason} under observe")
        if reason in BOUNDARIES:
            expect(reason != "rate_limit", "the rate stopped a run")
            tripped = [name for name in self.tripped(book, at_ns) if name != "rate_limit"]
            expect(tripped[:1] == [reason], f"stopped by {reason} where {tripped} had tripped")
        elif reason in BLIND:
            expect(book.limits.max_cost_nanodollars, "a blind stop without a cost budget")
            expect(book.limits.on_blind == REFUSE, "a blind stop though blind calls may pass")
        else:
            expect(reason == "max_cost_per_call", f"stopped by {reason}")
            expect(book.last_cost > book.limits.max_cost_per_call_nanodollars > 0, "no call was too dear")

    def _warned(self, book: RunBook, event: Any, _at_ns: int) -> None:
        expect(book.warned.get(event.reason.value) != event.limit, f"warned twice of {event.reason}")

    def _wouldstop(self, book: RunBook, event: Any, _at_ns: int) -> None:
        expect(book.limits.observe, "it would stop, and may")
        expect(event.reason.value not in book.would_stop, f"{event.reason} would stop twice")

    def _raised(self, book: RunBook, event: Any, at_ns: int) -> None:
        expect(event.lifted == (book.stop is not None), "a raise lifts what is there, and only that")
        if not event.lifted:
            return
        trial = RunBook(book.run)
        for name in RunBook.__slots__:
            setattr(trial, name, getattr(book, name))
        trial.limits = event.in_force
        if not book.openers and not book.in_state("open") and book.closed_cleanly:
            trial.episode_ns = 0  # the next opener begins another one
        if book.limits.compute_rate_nanodollars_per_hour == event.in_force.compute_rate_nanodollars_per_hour:
            left = [name for name in self.tripped(trial, at_ns) if name not in ("rate_limit", "stall")]
            expect(not left, f"a raise lifted the stop although {left} still trip")

    # Calls

    def _reserved(self, book: RunBook, event: Any, at_ns: int) -> None:
        expect(book.limits is not None, "a call of a run that is not there")
        known = [name for name, other in self._books.runs.items() if event.call in other.calls]
        expect(not known, "a call was admitted twice")
        expect(book.stop is None, f"a call was admitted after the stop {book.stop}")
        expect(event.session in book.openers, "a call was admitted for a session that has not opened the run")
        held = self._expected_hold(book, event, at_ns)
        expect(event.held_nanodollars == held, f"the call holds {event.held_nanodollars}, and should hold {held}")
        if not book.limits.observe:
            tripped = self.tripped(book, at_ns)
            expect(not tripped, f"a call was admitted past {tripped}")
            self._room(book, event, at_ns)

    def _room(self, book: RunBook, event: Any, at_ns: int) -> None:
        limits = book.limits
        open_calls, unresolved = book.in_state("open"), book.in_state("unresolved")
        pending = book.counted + len(open_calls) + len(unresolved)
        expect(not limits.max_calls or pending < limits.max_calls, f"call {pending + 1} of {limits.max_calls}")
        most = limits.max_cost_nanodollars
        if not most:
            return
        asked = self._books.asked(event.call)
        pledged = book.spent(at_ns) + book.held("unresolved")
        expect(pledged < most, f"admitted although {pledged} of {most} are pledged")
        new_model = asked.model not in self._books.metered and not asked.unmeterable
        if int(event.basis) == 3 or (new_model and limits.on_blind == REFUSE):
            expect(not open_calls, "a call that has to go alone does not")
        needed = pledged + book.held("open") + event.held_nanodollars
        if limits.strict:
            if limits.compute_rate_nanodollars_per_hour:
                left_ns = limits.deadline_ns - (at_ns - book.episode_ns if book.episode_ns else 0)
                needed += ceil(Fraction(left_ns * limits.compute_rate_nanodollars_per_hour, HOUR_NS))
            expect(needed <= most, f"strict admitted {needed} of {most}")
        else:
            expect(needed <= most or not open_calls, f"admitted {needed} of {most} beside open calls")
            book.may_cross = book.may_cross or needed > most

    def _expected_hold(self, book: RunBook, event: Any, at_ns: int) -> int:
        asked, limits = self._books.asked(event.call), book.limits
        price = self._table(book.prices).get(asked.model)
        most = limits.max_cost_nanodollars
        if not most or asked.unmeterable or (asked.model and price is None):
            return 0
        ceiling = None
        if price is not None:
            ceiling = price.ceiling(asked.input_bound, asked.output_bound, asked.choices)
            if ceiling == 0 and not asked.server_tools:
                return 0
        if asked.server_tools:
            ceiling = None
        if limits.strict and ceiling is not None:
            return ceiling
        dearest = book.dearest.get(asked.model, 0) or self._books.dearest.get(asked.model, 0)
        bounds = [bound for bound in (2 * dearest or None, ceiling) if bound is not None]
        left = most - book.spent(at_ns) - book.held("unresolved") - book.held("open")
        return min(bounds) if bounds else max(0, left)

    def _settled(self, book: RunBook, event: Any, _at_ns: int) -> None:
        line = self._line(book, event)
        amends = event.amends_nanodollars is not None
        expect(line.state in ("open", "unresolved", "resolved"), f"a {line.state} call was settled")
        expect(amends == (line.state == "resolved"), f"a {line.state} call was settled with amends={amends}")
        if amends:
            expect(event.amends_nanodollars == (line.cost or 0), "another cost is replaced than the person's")
            expect(event.amends_released == line.released, "a released call was counted, or the other way round")
        else:
            expect(event.unresolved == (line.state == "unresolved"), "settled out of another state")
            expect(event.held_nanodollars == line.held, "another hold is released than there was")
        expect(event.prices == line.prices, "priced by another table than that of the reserve")
        if amends and event.usage is None and event.http_status < 300:
            expect(event.cost_nanodollars == (line.cost or 0), "with no usage the person's word stays")
        else:
            self._priced(event, line)
        book.may_cross = book.may_cross or event.cost_nanodollars > line.held
        limits = book.limits
        dear = 0 < limits.max_cost_per_call_nanodollars < event.cost_nanodollars
        blind = event.blind is not None and limits.max_cost_nanodollars and limits.on_blind == REFUSE
        if (dear or blind) and book.stop is None and not limits.observe:
            book.owes_stop = True

    def _priced(self, event: Any, line: CallLine) -> None:
        table = self._table(line.prices)
        price = table.get(line.asked.model) or table.get(event.answered_model)
        cost = tool_cost = 0
        if price is not None and event.usage is not None:
            tokens = tokens_of(event.usage)
            cost, tool_cost = price.cost(tokens), price.tool_cost(tokens)
        expect(event.cost_nanodollars == cost, f"settled at {event.cost_nanodollars}, and the call cost {cost}")
        expect(event.tool_cost_nanodollars == tool_cost, "the tools were priced otherwise")

    def _voided(self, book: RunBook, event: Any, _at_ns: int) -> None:
        line = self._line(book, event)
        expect(line.state in ("open", "unresolved"), f"a {line.state} call was voided")
        expect(event.unresolved == (line.state == "unresolved"), "voided out of another state")
        expect(event.held_nanodollars == line.held, "another hold is released than there was")

    def _abandoned(self, book: RunBook, event: Any, _at_ns: int) -> None:
        line = self._line(book, event)
        expect(line.state in ("open", "unresolved"), f"a {line.state} call was abandoned")
        expect(event.unresolved == (line.state == "unresolved"), "abandoned out of another state")
        expect(event.held_nanodollars == line.held, "another hold is kept than there was")
        price = self._table(line.prices).get(line.asked.model)
        known = price.cost(tokens_of(event.known)) if price is not None and event.known is not None else 0
        blind = line.unknown_hold and book.limits.max_cost_nanodollars
        held = 0 if blind and book.limits.on_blind != REFUSE and line.state == "open" else line.held
        kept = max(held, known)
        book.may_cross = book.may_cross or kept > line.held
        expect(event.kept_nanodollars == kept, f"a call that holds {kept} keeps {event.kept_nanodollars}")

    def _resolved(self, book: RunBook, event: Any, _at_ns: int) -> None:
        line = self._line(book, event)
        expect(line.state == "unresolved", f"a person resolved a {line.state} call")
        expect(event.held_nanodollars == line.held, "another hold is released than there was")

    def _line(self, book: RunBook, event: Any) -> CallLine:
        expect(event.call in book.calls, "an entry about a call that was never admitted")
        return book.calls[event.call]

    def _table(self, prices: bytes) -> Mapping[str, Price]:
        return self._prices[prices] if prices else {}


def tokens_of(usage: Any) -> Tokens:
    """Usage as an entry has it, in the provider's terms."""
    return Tokens(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cached=usage.cached_input_tokens,
        searches=usage.web_search_requests,
    )
