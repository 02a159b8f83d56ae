"""The prices of one model, ready to price a call, and the plain form in which a table stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from leash.prices.rates import BASE_TIER, GivenSchedules, Rates, Step, dearest, resolve

# Names by which providers call their ordinary processing, in requests or in answers. A table cannot give them.
BASE_TIER_NAMES = frozenset({"default", "standard", "standard_only", "on_demand", "auto"})

# Tiers that never bill more than the base does: half-price processing, and capacity that was paid for beforehand.
# A table that does not list one of them leaves it at the base.
_NEVER_DEARER_TIERS = frozenset({"batch", "flex", "scale", "reserved", "provisioned_throughput"})


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
        """The rates of a call with that many input tokens, in the tier that the answer names.

        A tier that the table does not list bills at the base where it is one that never bills more (batch, flex,
        capacity paid for beforehand); any other at the dearest that the table lists, since it may be a surcharge.
        """
        schedule = self.schedules.get(tier_key(service_tier))
        if schedule is None:
            if tier_key(service_tier) not in _NEVER_DEARER_TIERS:
                return dearest(_at(schedule, input_tokens) for schedule in self.schedules.values())
            schedule = self.schedules[BASE_TIER]
        return _at(schedule, input_tokens)

    def possible_rates(self, service_tier: str, input_bound_tokens: int | None) -> Rates:
        """The dearest rates that a call may turn out to have that asks for that tier, with at most so many tokens.

        A call that names no tier, or ``auto``, may be answered in any (the provider's project setting decides). One
        that names a tier may still be answered at the base. ``None`` is no bound.
        """
        requested = service_tier.strip().lower()
        key = tier_key(requested)
        if requested in {"", "auto"} or (key not in self.schedules and key not in _NEVER_DEARER_TIERS):
            schedules = list(self.schedules.values())
        else:
            schedules = [self.schedules[name] for name in {BASE_TIER, key} & self.schedules.keys()]
        return dearest(
            step.rates
            for schedule in schedules
            for index, step in enumerate(schedule)
            if index == 0 or input_bound_tokens is None or input_bound_tokens > step.above_tokens
        )


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

    def price(self) -> ModelPrice:
        """The prices with every omitted rate filled in."""
        return ModelPrice(
            schedules=resolve(self.schedules),
            web_search_nanodollars=self.web_search_nanodollars,
            web_fetch_nanodollars=self.web_fetch_nanodollars,
            max_output_tokens=self.max_output_tokens,
            context_tokens=self.context_tokens,
        )


def _at(schedule: tuple[Step, ...], input_tokens: int) -> Rates:
    for step in reversed(schedule):
        if input_tokens > step.above_tokens:
            return step.rates
    return schedule[0].rates
