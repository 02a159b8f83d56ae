"""What a call would cost by a price table, as the daemon would reserve and settle it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leash.prices import Bill, ceiling, itemize

if TYPE_CHECKING:
    from leash.prices import ModelPrice
    from leash.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A call and what it is made of.

    ``tiers`` are those whose dearest rates it has, the ordinary one as the empty name; ``above_tokens`` is the input
    length beyond which it has them, 0 for none; ``ceiling_nanodollars`` is ``None`` where nothing bounds the call.
    """

    usage: Usage
    bill: Bill
    tiers: tuple[str, ...]
    above_tokens: int
    ceiling_nanodollars: int | None


def quote(price: ModelPrice, usage: Usage, *, input_bound_tokens: int | None, output_bound_tokens: int | None) -> Quote:
    """The call of this usage, answered in the tier that it asked for.

    The bounds are what a request would be reserved with: the most input that it can have, and its ``max_tokens``;
    ``None`` where it says nothing, so that the model's own sizes count.
    """
    bill = itemize(price, usage)
    most = ceiling(
        price,
        input_bound_tokens=input_bound_tokens,
        output_bound_tokens=output_bound_tokens,
        choices=1,
        service_tier=usage.service_tier,
    )
    return Quote(
        usage=usage,
        bill=bill,
        tiers=price.tiers(usage.service_tier),
        above_tokens=price.above_tokens(usage.service_tier, bill.input_tokens),
        ceiling_nanodollars=None if bill.tools else most,
    )


def contradiction(usage: Usage) -> str:
    """What is wrong with counts that no provider would report, in a sentence that names the flags; empty for nothing.

    A bill can be made of any counts. But who gives subsets above their total has the wrong idea of them.
    """
    in_cache = (
        usage.cached_input_tokens + usage.cache_write_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    )
    if in_cache > usage.input_tokens:
        return (
            f"--input is all of the input: --cached-input and the --cache-write flags are parts of it, and add up to "
            f"{in_cache:,} of {usage.input_tokens:,} (Anthropic reports them apart: give --input the sum)"
        )
    not_text = usage.audio_input_tokens + usage.image_input_tokens
    if not_text > usage.input_tokens:
        return (
            f"--input is all of the input: --audio-input and --image-input are parts of it, and add up to "
            f"{not_text:,} of {usage.input_tokens:,}"
        )
    generated = usage.reasoning_tokens + usage.audio_output_tokens + usage.image_output_tokens
    if generated > usage.output_tokens:
        return (
            f"--output is all of the output: --reasoning, --audio-output and --image-output are parts of it, and add "
            f"up to {generated:,} of {usage.output_tokens:,} (Gemini reports thoughts apart: give --output the sum)"
        )
    return ""
