"""What one call cost: the only place where usage becomes money."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from leash.prices.number import ATTODOLLARS_PER_NANODOLLAR

if TYPE_CHECKING:
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


class TokenLine(NamedTuple):
    """The tokens of one kind, named as in ``Rates``, and what each costs, in attodollars."""

    kind: str
    tokens: int
    rate_attodollars: int

    @property
    def attodollars(self) -> int:
        """What the line comes to, exactly."""
        return self.tokens * self.rate_attodollars


class ToolLine(NamedTuple):
    """The requests of one server-side tool, and what each costs; ``None`` where the table does not say."""

    kind: str
    requests: int
    each_nanodollars: int | None

    @property
    def nanodollars(self) -> int:
        """What the line comes to; nothing where it has no price."""
        return self.requests * (self.each_nanodollars or 0)


class Bill(NamedTuple):
    """What a call is made of: every token once, and every request of a tool. There are no lines of nothing.

    ``input_tokens`` is the input whose length chose the rates.
    """

    input_tokens: int
    tokens: Sequence[TokenLine]
    tools: Sequence[ToolLine]

    @property
    def token_attodollars(self) -> int:
        """What the tokens come to, exactly."""
        return sum([line.attodollars for line in self.tokens])

    @property
    def cost(self) -> Cost:
        """The sum of the lines, rounded once, up to a nanodollar."""
        token_nanodollars = nanodollars_up(self.token_attodollars)
        if not self.tools:
            return Cost(token_nanodollars, 0, unpriced_tool=False)
        tool_nanodollars = sum(line.nanodollars for line in self.tools)
        return Cost(
            total_nanodollars=token_nanodollars + tool_nanodollars,
            tool_nanodollars=tool_nanodollars,
            unpriced_tool=any(line.each_nanodollars is None for line in self.tools),
        )


def cost(price: ModelPrice, usage: Usage) -> Cost:
    """What the wire reported, priced exactly, and rounded once, up to a nanodollar. See ``itemize``."""
    return itemize(price, usage).cost


def itemize(price: ModelPrice, usage: Usage) -> Bill:
    """The lines of what a call cost.

    Cached, cache-write, audio and image tokens are subsets of the input, reasoning, audio and image tokens of the
    output; each token is priced once, and those in no subset at the input or output rate. Where a provider's subsets
    overlap (they add up to more than the total) the tokens are taken at the dearest rates first; a subset that has
    the rate of the total takes last, so that an image that costs what text does is billed as cached where it was.
    Where they cannot overlap and yet exceed the total (no token is both read from and written to a cache, or both
    audio and image), the total is what they add up to. A negative count is none.

    The call is priced as a whole in the context tier that its input falls in, and in the service tier of its answer.
    """
    cached = max(usage.cached_input_tokens, 0)
    written = max(usage.cache_write_tokens, 0)
    written_5m = max(usage.cache_write_5m_tokens, 0)
    written_1h = max(usage.cache_write_1h_tokens, 0)
    audio_input = max(usage.audio_input_tokens, 0)
    audio_output = max(usage.audio_output_tokens, 0)
    image_input = max(usage.image_input_tokens, 0)
    image_output = max(usage.image_output_tokens, 0)
    reasoning = max(usage.reasoning_tokens, 0)
    input_tokens = max(usage.input_tokens, cached + written + written_5m + written_1h, audio_input + image_input)
    output_tokens = max(usage.output_tokens, reasoning + audio_output + image_output)

    rates = price.rates(usage.service_tier, input_tokens)
    lines = _subsets_once(
        TokenLine("input", input_tokens, rates.input),
        (
            ("cached_input", cached, rates.cached_input),
            ("cache_write", written, rates.cache_write),
            ("cache_write_5m", written_5m, rates.cache_write_5m),
            ("cache_write_1h", written_1h, rates.cache_write_1h),
            ("audio_input", audio_input, rates.audio_input),
            ("image_input", image_input, rates.image_input),
        ),
    )
    lines += _subsets_once(
        TokenLine("output", output_tokens, rates.output),
        (
            ("reasoning", reasoning, rates.reasoning),
            ("audio_output", audio_output, rates.audio_output),
            ("image_output", image_output, rates.image_output),
        ),
    )
    tools = (
        ("web_search", usage.web_search_requests, price.web_search_nanodollars),
        ("web_fetch", usage.web_fetch_requests, price.web_fetch_nanodollars),
        # The table has no key that could price any other tool.
        ("other_tool", usage.other_tool_requests, None),
    )
    return Bill(input_tokens, lines, [ToolLine(*tool) for tool in tools if tool[1] > 0])


def nanodollars_up(attodollars: int) -> int:
    """Attodollars in nanodollars, rounded up."""
    return -(-attodollars // ATTODOLLARS_PER_NANODOLLAR)


def _subsets_once(total: TokenLine, subsets: Iterable[tuple[str, int, int]]) -> list[TokenLine]:
    """The total less its subsets, then the subsets, such that each token is in one line: the dearest takes first.

    One at the rate of the total takes last: which of its tokens are also in another makes no difference to it.
    """
    rate = total.rate_attodollars
    lines = [TokenLine(*subset) for subset in subsets if subset[1]]
    left_tokens = total.tokens - sum([line.tokens for line in lines])
    if left_tokens < 0:
        left_tokens = total.tokens
        by_rate = sorted(lines, key=lambda line: (line.rate_attodollars != rate, line.rate_attodollars), reverse=True)
        for line in by_rate:
            taken_tokens = min(line.tokens, left_tokens)
            lines[lines.index(line)] = line._replace(tokens=taken_tokens)
            left_tokens -= taken_tokens
    rest = [total._replace(tokens=left_tokens)] if left_tokens else []
    return rest + [line for line in lines if line.tokens]
