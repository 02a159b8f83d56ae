"""What ``prices check --json`` shows a script. Pure. Fields are only ever added.

Prices and costs are dollars as numbers with all their digits, rates dollars per million tokens; what there is none of
is null. The ordinary tier is the empty name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leash.units import dollars_number
from leashctl.price_amounts import ATTODOLLAR_PLACES, MILLION_TOKENS_PLACES, exact
from leashctl.price_gaps import gaps_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.prices import PriceTable
    from leashctl.price_gaps import Gap
    from leashctl.price_quote import Quote


def table_record(file: str, table: PriceTable, counts: Mapping[Gap, int]) -> dict[str, Any]:
    """A whole table: how many models lack each key, what is left out and why, and every model."""
    return {
        "file": file,
        "format": table.format_name,
        "models": len(table),
        "missing": {gap.value: count for gap, count in counts.items()},
        # A name that is not priced may have anything in it, a lone surrogate too, which JSON has no bytes for.
        "unpriced": {
            name.encode("utf-8", "backslashreplace").decode(): reason.value for name, reason in table.unpriced.items()
        },
        "prices": [model_record(table, asked=name, name=name) for name in table],
    }


def model_record(table: PriceTable, *, asked: str, name: str) -> dict[str, Any]:
    """One model: ``entry`` is the name in the table, ``rates`` has one object for each tier and length of input."""
    price = table.get(name)
    assert price is not None, "the table has the name"
    return {
        "model": asked,
        "entry": name,
        "rates": [
            {"tier": tier, "above_tokens": step.above_tokens}
            | {kind: exact(rate, MILLION_TOKENS_PLACES) for kind, rate in step.rates._asdict().items()}
            for tier, schedule in price.schedules.items()
            for step in schedule
        ],
        "web_search_per_request": _price(price.web_search_nanodollars),
        "web_fetch_per_request": _price(price.web_fetch_nanodollars),
        "max_output": price.max_output_tokens,
        "context": price.context_tokens,
        "missing": [gap.value for gap in gaps_of(table, name)],
        "remarks": [remark.value for remark in table.remarks.get(name, ())],
    }


def quote_record(quoted: Quote) -> dict[str, Any]:
    """A call: ``lines`` add up to the cost before it is rounded up, once, to a nanodollar."""
    bill, cost = quoted.bill, quoted.bill.cost
    tokens: list[dict[str, Any]] = [
        {
            "kind": line.kind,
            "tokens": line.tokens,
            "per_million": exact(line.rate_attodollars, MILLION_TOKENS_PLACES),
            "cost": exact(line.attodollars, ATTODOLLAR_PLACES),
        }
        for line in bill.tokens
    ]
    tools: list[dict[str, Any]] = [
        {
            "kind": tool.kind,
            "requests": tool.requests,
            "each": _price(tool.each_nanodollars),
            "cost": None if tool.each_nanodollars is None else dollars_number(tool.nanodollars),
        }
        for tool in bill.tools
    ]
    return {
        "tier": quoted.usage.service_tier,
        "at_tiers": list(quoted.tiers),
        "above_tokens": quoted.above_tokens,
        "lines": tokens + tools,
        "cost": dollars_number(cost.total_nanodollars),
        "tool_cost": dollars_number(cost.tool_nanodollars),
        "unpriced_tool": cost.unpriced_tool,
        "ceiling": _price(quoted.ceiling_nanodollars),
    }


def _price(nanodollars: int | None) -> Any:
    return None if nanodollars is None else dollars_number(nanodollars)
