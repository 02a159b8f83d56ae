"""The most that a call can cost, known before it is forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.prices.cost import nanodollars_up

if TYPE_CHECKING:
    from leash.prices.model import ModelPrice


def ceiling(  # noqa: PLR0913 - each bounds the call in its own way
    price: ModelPrice,
    *,
    input_bound_tokens: int | None,
    output_bound_tokens: int | None,
    choices: int,
    service_tier: str,
    prompts: int = 1,
) -> int | None:
    """Nanodollars that no call within these bounds exceeds, server-side tools aside; ``None`` where nothing bounds it.

    ``input_bound_tokens`` is the most input tokens that the request can have, ``None`` the model's whole context
    window for each of its ``prompts``; ``output_bound_tokens`` the request's own limit for each choice, ``None`` the
    model's; ``service_tier`` as requested. Every token counts at the dearest rate of any kind that could apply: cache
    writes, audio, images, reasoning, each context tier up to the bound, and each service tier that the provider may
    choose.
    """
    windows = None if price.context_tokens is None else price.context_tokens * max(prompts, 1)
    bounds = [bound for bound in (input_bound_tokens, windows) if bound is not None]
    input_tokens = min(bounds, default=None)
    output_tokens = price.max_output_tokens if output_bound_tokens is None else output_bound_tokens
    rates = price.possible_rates(service_tier, input_tokens)
    # Tokens that cost nothing need no bound: an embedding generates none.
    input_attodollars = _most(rates.dearest_input, input_tokens)
    output_attodollars = _most(rates.dearest_output, output_tokens)
    if input_attodollars is None or output_attodollars is None:
        return None
    return nanodollars_up(input_attodollars + output_attodollars * max(choices, 1))


def _most(rate: int, tokens: int | None) -> int | None:
    if rate == 0:
        return 0
    return None if tokens is None else rate * max(tokens, 0)
