"""The prices of one model, ready to price a call, and the plain form in which a table stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from leash.prices.rates import BASE_TIER, RATE_NAMES, GivenSchedules, Rates, Step, dearest, resolve, step_at

# Names by which providers call their ordinary processing, in requests or in answers. A table cannot give them.
BASE_TIER_NAMES = frozenset({"default", "standard", "standard_only", "on_demand", "auto"})

# The tier of Anthropic's faster processing. No project setting chooses it: a call is answered in it that asks for it.
FAST_TIER = "fast"

# Tiers that never bill more than the base does: half-price processing, quiet hours, and capacity that was paid for
# beforehand. A table that does not list one of them leaves it at the base.
_NEVER_DEARER_TIERS = frozenset({"batch", "flex", "offpeak", "scale", "reserved", "provisioned_throughput"})


def tier_key(service_tier: str) -> str:
    """A service tier under one name: lower case, Google's ``ON_DEMAND_PRIORITY`` as ``priority``, the base as empty."""
    name = service_tier.strip().lower().removeprefix("on_demand_")
    return BASE_TIER if name in BASE_TIER_NAMES else name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """What calls of one model cost: rates by service tier and context length, and server-side tools by the request.

    ``schedules`` has the base under the empty name; each schedule ascends from 0 input tokens. A ``None`` is a price
    or a size that the table does not give.
    """

    schedules: Mapping[str, tuple[Step, ...]]
    web_search_nanodollars: int | None = None
    web_fetch_nanodollars: int | None = None
    max_output_tokens: int | None = None
    context_tokens: int | None = None

    def rates(self, service_tier: str, input_tokens: int) -> Rates:
        """The rates of a call with that many input tokens, in the tier that the answer names: see ``tiers``."""
        tiers = self.tiers(service_tier)
        if len(tiers) == 1:
            return step_at(self.schedules[tiers[0]], input_tokens).rates
        return dearest(step_at(self.schedules[tier], input_tokens).rates for tier in tiers)

    def tiers(self, service_tier: str) -> tuple[str, ...]:
        """The listed tiers whose dearest rates a call bills at that was answered in that tier.

        That is the tier itself where it is listed. One that is not bills at the base where it is one that never bills
        more (batch, flex, capacity paid for beforehand); any other at the dearest that the table lists, since it may be
        a surcharge. The fast tier is meant only where it is named.
        """
        key = tier_key(service_tier)
        if key in self.schedules:
            return (key,)
        return (BASE_TIER,) if key in _NEVER_DEARER_TIERS else self._unasked_tiers()

    def above_tokens(self, service_tier: str, input_tokens: int) -> int:
        """The input length beyond which such a call has the rates that it has; 0 where no length has its own."""
        return max(step_at(self.schedules[tier], input_tokens).above_tokens for tier in self.tiers(service_tier))

    def possible_rates(self, service_tier: str, input_bound_tokens: int | None) -> Rates:
        """The dearest rates that a call may turn out to have that asks for that tier, with at most so many tokens.

        A call that names no tier, or ``auto``, may be answered in any but the fast one (the provider's project setting
        decides). One that names a tier may still be answered at the base. ``None`` is no bound.
        """
        requested = service_tier.strip().lower()
        key = tier_key(requested)
        if requested in {"", "auto"} or (key not in self.schedules and key not in _NEVER_DEARER_TIERS):
            tiers = self._unasked_tiers()
        else:
            tiers = tuple({BASE_TIER, key} & self.schedules.keys())
        schedules = [self.schedules[tier] for tier in tiers]
        return dearest(
            step.rates
            for schedule in schedules
            for index, step in enumerate(schedule)
            if index == 0 or input_bound_tokens is None or input_bound_tokens > step.above_tokens
        )

    def _unasked_tiers(self) -> tuple[str, ...]:
        return tuple(tier for tier in self.schedules if tier != FAST_TIER)


class PlainModel(NamedTuple):
    """A model as a table stores it: lists, maps, strings, integers and None only."""

    provider: str
    max_output_tokens: int | None
    context_tokens: int | None
    web_search_nanodollars: int | None
    web_fetch_nanodollars: int | None
    schedules: GivenSchedules

    def to_plain(self) -> list[Any]:
        """The stored form."""
        schedules = {
            tier: [[above, list(rates)] for above, rates in schedule] for tier, schedule in self.schedules.items()
        }
        return [*self[:-1], schedules]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> PlainModel:
        """The model of a stored form; the rates that were added since it was stored are omitted."""
        *others, stored = plain
        schedules = {
            tier: [(above, [*rates, *[None] * (len(RATE_NAMES) - len(rates))]) for above, rates in schedule]
            for tier, schedule in stored.items()
        }
        return cls._make([*others, schedules])

    def price(self) -> ModelPrice:
        """The prices with every omitted rate filled in."""
        return ModelPrice(
            schedules=resolve(self.schedules),
            web_search_nanodollars=self.web_search_nanodollars,
            web_fetch_nanodollars=self.web_fetch_nanodollars,
            max_output_tokens=self.max_output_tokens,
            context_tokens=self.context_tokens,
        )
