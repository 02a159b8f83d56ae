"""What one call cost: the only place where usage becomes money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leash.prices.number import ATTODOLLARS_PER_NANODOLLAR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leash.prices.model import ModelPrice
    from leash.usage import Usage


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one call, in nanodollars; ``total_nanodollars`` includes the server-side tools.

    ``unpriced_tool`` says that the call used a tool that the table has no price for, so that the total is too low.
    """

    total_nanodollars: int
    tool_nanodollars: int
    unpriced_tool: bool


def cost(price: ModelPrice, usage: Usage) -> Cost:
    """Prices what the wire reported, exactly, and rounds once, up to a nanodollar.

    Cached, cache-write and audio tokens are subsets of the input, reasoning and audio tokens of the output; each
    token is priced once, and those in no subset at the input or output rate. Where a provider's subsets overlap (they
    add up to more than the total) the tokens are taken at the dearest rates first. Where they cannot overlap and yet
    exceed the total (no token is both read from and written to a cache), the total is what they add up to.
    A negative count is none.

    The call is priced as a whole in the context tier that its input falls in, and in the service tier of its answer.
    """
    cached = max(usage.cached_input_tokens, 0)
    written = max(usage.cache_write_tokens, 0)
    written_5m = max(usage.cache_write_5m_tokens, 0)
    written_1h = max(usage.cache_write_1h_tokens, 0)
    audio_input = max(usage.audio_input_tokens, 0)
    audio_output = max(usage.audio_output_tokens, 0)
    reasoning = max(usage.reasoning_tokens, 0)
    input_tokens = max(usage.input_tokens, cached + written + written_5m + written_1h, audio_input)
    output_tokens = max(usage.output_tokens, reasoning + audio_output)

    rates = price.rates(usage.service_tier, input_tokens)
    attodollars = _subsets_once(
        input_tokens,
        rates.input,
        (
            (rates.cached_input, cached),
            (rates.cache_write, written),
            (rates.cache_write_5m, written_5m),
            (rates.cache_write_1h, written_1h),
            (rates.audio_input, audio_input),
        ),
    ) + _subsets_once(
        output_tokens,
        rates.output,
        ((rates.reasoning, reasoning), (rates.audio_output, audio_output)),
    )

    tools = (
        (usage.web_search_requests, price.web_search_nanodollars),
        (usage.web_fetch_requests, price.web_fetch_nanodollars),
        # The table has no key that could price any other tool.
        (usage.other_tool_requests, None),
    )
    tool_nanodollars = sum(requests * each for requests, each in tools if requests > 0 and each is not None)
    return Cost(
        total_nanodollars=nanodollars_up(attodollars) + tool_nanodollars,
        tool_nanodollars=tool_nanodollars,
        unpriced_tool=any(requests > 0 and each is None for requests, each in tools),
    )


def nanodollars_up(attodollars: int) -> int:
    """Attodollars in nanodollars, rounded up."""
    return -(-attodollars // ATTODOLLARS_PER_NANODOLLAR)


def _subsets_once(total_tokens: int, rest_rate: int, subsets: Iterable[tuple[int, int]]) -> int:
    """Attodollars of a total whose subsets are given as (rate, tokens), each token taken once, the dearest first."""
    left_tokens = total_tokens
    attodollars = 0
    for rate, subset_tokens in sorted(subsets, reverse=True):
        taken_tokens = min(subset_tokens, left_tokens)
        attodollars += taken_tokens * rate
        left_tokens -= taken_tokens
    return attodollars + left_tokens * rest_rate
