"""What a price table leaves unsaid of a model, and what that comes to. Pure.

The names are stable: those of the missing keys in leash's own format, whichever format the table is in.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from leash.prices.rates import BASE_TIER, RATE_NAMES
from leash.prices.reading import Remark, Unpriced

if TYPE_CHECKING:
    from leash.prices import PriceTable


class Gap(StrEnum):
    """A key that a table does not give for a model. Those that stop or refuse a call stand first."""

    MAX_OUTPUT = "max_output"
    CONTEXT = "context"
    WEB_SEARCH = "web_search_per_request"
    WEB_FETCH = "web_fetch_per_request"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_1H = "cache_write_1h"
    CACHED_INPUT = "cached_input"


GAP_MEANINGS = {
    Gap.MAX_OUTPUT: "a request without max_tokens has no known most: --strict refuses it, a first call goes alone",
    Gap.CONTEXT: (
        "a request with images, files or stored text has no known most: --strict refuses it, a first call goes alone"
    ),
    Gap.WEB_SEARCH: "a call that searches the web is delivered, and then stops the run: server_tool_unpriced",
    Gap.WEB_FETCH: "a call that fetches from the web is delivered, and then stops the run: server_tool_unpriced",
    Gap.CACHE_WRITE: "tokens written to a cache bill as input: too little where the provider asks more",
    Gap.CACHE_WRITE_1H: "tokens written for an hour bill as other writes: too little where the provider asks more",
    Gap.CACHED_INPUT: "tokens read from a cache bill as input: never too little",
}

REMARK_MEANINGS = {
    Remark.OTHER_TOKENS_AT_DEAREST: (
        "tokens of video, citations or cached images cost more than those of text, and are counted with them: all bill "
        "at the dearest"
    ),
    Remark.REGIONAL_UPLIFT: "the provider asks more in some regions: leash does not tell them apart, and leaves it out",
    Remark.OFF_PEAK_DISCOUNT: "it is cheaper at some hours: it bills at the price of the others all the time",
}

UNPRICED_MEANINGS = {
    Unpriced.NO_INPUT_PRICE: "it has no price for input tokens",
    Unpriced.NO_OUTPUT_PRICE: "it has no price for output tokens",
    Unpriced.OTHER_UNIT: "it is billed by another unit than tokens",
    Unpriced.REQUEST_FEE: "it is billed by the request besides its tokens",
}

_MOST_CLOSE = 5

_CACHED_INPUT, _CACHE_WRITE, _CACHE_WRITE_5M, _CACHE_WRITE_1H = map(
    RATE_NAMES.index, ("cached_input", "cache_write", "cache_write_5m", "cache_write_1h")
)


def gaps_of(table: PriceTable, name: str) -> tuple[Gap, ...]:
    """What the table does not give for the model of this very name, and could matter. Raises ``KeyError``.

    Tokens that cost nothing need no bound and no finer rate, and a model that generates none (an embedding) runs no
    tools and is not cached. Reasoning that is not given bills as output, as nearly everywhere, and is no gap.
    """
    given, price = table.given(name), table.get(name)
    assert price is not None, "the table has the name"
    steps = [step.rates for schedule in price.schedules.values() for step in schedule]
    free_input = not any(rates.dearest_input for rates in steps)
    free_output = not any(rates.dearest_output for rates in steps)
    base = given.schedules[BASE_TIER][0][1]
    writes_given = base[_CACHE_WRITE] is not None or base[_CACHE_WRITE_5M] is not None
    missing = {
        Gap.MAX_OUTPUT: given.max_output_tokens is None and not free_output,
        Gap.CONTEXT: given.context_tokens is None and not free_input,
        Gap.WEB_SEARCH: given.web_search_nanodollars is None and not free_output,
        Gap.WEB_FETCH: given.web_fetch_nanodollars is None and not free_output,
        Gap.CACHE_WRITE: not writes_given and not free_input and not free_output,
        Gap.CACHE_WRITE_1H: writes_given and base[_CACHE_WRITE_1H] is None,
        Gap.CACHED_INPUT: base[_CACHED_INPUT] is None and not free_input and not free_output,
    }
    return tuple(gap for gap in Gap if missing[gap])


def count_gaps(table: PriceTable) -> dict[Gap, int]:
    """For how many models of the table each key is missing; those that none misses are left out."""
    counts = Counter(gap for name in table for gap in gaps_of(table, name))
    return {gap: counts[gap] for gap in Gap if counts[gap]}


def close_names(table: PriceTable, model: str) -> list[str]:
    """Up to five names in the table that may have been meant, the likeliest first."""
    import difflib  # noqa: PLC0415 (only an error pays for it)

    wanted = model.lower()
    behind = [name for name in table if name.lower().endswith(f"/{wanted}")]
    within = [name for name in table if wanted and wanted in name.lower()]
    # Spelled almost so, with a provider before it or without.
    bare: dict[str, str] = {}
    for name in table:
        bare.setdefault(name.rpartition("/")[2].lower(), name)
    alike = [bare[each] for each in difflib.get_close_matches(wanted.rpartition("/")[2], bare, n=_MOST_CLOSE)]
    return list(dict.fromkeys([*behind, *alike, *sorted(within, key=len)]))[:_MOST_CLOSE]
