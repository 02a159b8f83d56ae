"""What ``prices check`` shows a person: a table, one model, or the quote of a call. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.prices.number import ATTODOLLARS_PER_NANODOLLAR
from leash.prices.rates import BASE_TIER, RATE_NAMES, coarser_name
from leash.prices.table import LITELLM
from leashctl.price_amounts import ATTODOLLAR_PLACES, NANODOLLAR_PLACES, nanodollars, per_million, written
from leashctl.price_gaps import GAP_MEANINGS, REMARK_MEANINGS, Gap, gaps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leash.prices import ModelPrice, PriceTable
    from leashctl.price_quote import Quote

# A table of more models than this is shown as counts.
MOST_LISTED = 20

_NONE = "-"
_GAP = "  "
_ORDINARY = "ordinary"


def headline(file: str, table: PriceTable) -> str:
    """How many models a table prices."""
    models = "1 model" if len(table) == 1 else f"{len(table):,} models"
    return f"{file} prices {models}"


def table_lines(table: PriceTable, counts: Mapping[Gap, int], *, each: bool) -> list[str]:
    """A table as a whole: its models where ``each`` is wanted, and what is missing for how many of them."""
    lines = []
    if table.unpriced:
        lines.append(f"{len(table.unpriced):,} more entries have no price for tokens, and count as unpriced models")
    if each:
        lines += ["", *_models(table)]
    if not counts:
        return [*lines, "", "Every model has all that matters under a cost budget."]
    lines += ["", "Not given, for so many models, and what that means under a cost budget:"]
    size = max(len(f"{count:,}") for count in counts.values())
    width = max(map(len, counts))
    lines += [f"  {count:>{size},}  {gap:<{width}}  {GAP_MEANINGS[gap]}" for gap, count in counts.items()]
    if table.format_name == LITELLM and Gap.WEB_FETCH in counts:
        lines.append(f"LiteLLM's format has no key for {Gap.WEB_FETCH}; leash's own has.")
    if not each:
        lines += ["", "`--model NAME` shows one model, `--all` lists them all."]
    return lines


def _models(table: PriceTable) -> list[str]:
    rows = [["MODEL", "INPUT", "OUTPUT", "CONTEXT", "MAX OUTPUT", "NOT GIVEN"]]
    for name in table:
        price = table.get(name)
        assert price is not None, "the table has the name"
        rates = price.rates(BASE_TIER, 0)
        rows.append(
            [
                name,
                per_million(rates.input),
                per_million(rates.output),
                _tokens(price.context_tokens),
                _tokens(price.max_output_tokens),
                ", ".join(gaps_of(table, name)) or _NONE,
            ]
        )
    lines = _aligned(rows, right=range(1, 5))
    return [*lines, "Input and output in dollars per million tokens; `--model NAME` shows every rate of one."]


def model_lines(file: str, table: PriceTable, *, asked: str, name: str) -> list[str]:
    """One model: its rates in every tier and at every length of input, its sizes, and what is not given for it."""
    price = table.get(name)
    assert price is not None, "the table has the name"
    lines = [f"{_named(asked, name)} in {file}, in dollars per million tokens:", "", *_rates(price), ""]
    fields = [
        ("web search", _each(price.web_search_nanodollars)),
        ("web fetch", _each(price.web_fetch_nanodollars)),
        ("max output", _size(price.max_output_tokens)),
        ("context", _size(price.context_tokens)),
    ]
    lines += [f"{label:<10}  {value}" for label, value in fields]
    missing = [(gap, GAP_MEANINGS[gap]) for gap in gaps_of(table, name)]
    if missing:
        width = max(len(gap) for gap, _ in missing)
        lines += ["", "Not given, and what that means under a cost budget:"]
        lines += [f"  {gap:<{width}}  {meaning}" for gap, meaning in missing]
    remarks = table.remarks.get(name, ())
    if remarks:
        lines += ["", "Note:", *(f"  {REMARK_MEANINGS[remark]}" for remark in remarks)]
    return lines


def _rates(price: ModelPrice) -> list[str]:
    """A row for each tier and length of input, a column for each kind of rate that is not always a coarser one."""
    points = [(tier, step) for tier, schedule in price.schedules.items() for step in schedule]
    rates = [step.rates._asdict() for _, step in points]
    stands_for = {
        kind: coarser
        for kind in RATE_NAMES
        if (coarser := coarser_name(kind)) is not None and all(each[kind] == each[coarser] for each in rates)
    }
    own = [kind for kind in RATE_NAMES if kind not in stands_for]
    rows = [["", *own]]
    for (tier, step), each in zip(points, rates, strict=True):
        rows.append([_point(tier, step.above_tokens), *(per_million(each[kind]) for kind in own)])
    lines = _aligned(rows, right=range(1, len(own) + 1))
    for kind in own:
        others = [other for other in stands_for if _root(other, stands_for) == kind]
        if others:
            lines.append(f"as {kind}: {', '.join(others)}")
    return lines


def _root(kind: str, stands_for: Mapping[str, str]) -> str:
    while kind in stands_for:
        kind = stands_for[kind]
    return kind


def quote_lines(quoted: Quote, *, asked: str, name: str) -> list[str]:
    """What a call would cost, line by line, and the most that a request like it could."""
    bill, cost = quoted.bill, quoted.bill.cost
    lines = [f"{_named(asked, name)}: {nanodollars(cost.total_nanodollars)}", *_circumstances(quoted), ""]
    exact = bill.token_attodollars + cost.tool_nanodollars * ATTODOLLARS_PER_NANODOLLAR
    amounts = [*(line.attodollars for line in bill.tokens), exact]
    decimals = max(len(_dollars(amount).partition(".")[2]) for amount in amounts)
    rows = [["KIND", "COUNT", "RATE", "COST"]]
    for line in bill.tokens:
        cells = [line.kind, f"{line.tokens:,}", f"${per_million(line.rate_attodollars)} a million"]
        rows.append([*cells, _dollars(line.attodollars, fewest=decimals)])
    for tool in bill.tools:
        amount = _dollars(tool.nanodollars * ATTODOLLARS_PER_NANODOLLAR, fewest=decimals)
        known = tool.each_nanodollars is not None
        rows.append([tool.kind, f"{tool.requests:,}", _each(tool.each_nanodollars), amount if known else _NONE])
    rows.append(["total", "", "", _dollars(exact, fewest=decimals)])
    lines += _aligned(rows, right=(1, 2, 3))
    if exact != cost.total_nanodollars * ATTODOLLARS_PER_NANODOLLAR:
        lines.append(f"rounded up, once for the call, to {nanodollars(cost.total_nanodollars)}")
    if cost.unpriced_tool:
        lines.append("A tool has no price: under a cost budget such a call stops the run (server_tool_unpriced).")
    return [*lines, "", _ceiling(quoted)]


def _circumstances(quoted: Quote) -> list[str]:
    """The tier and the length of input, where they are not the ordinary ones."""
    tier = quoted.usage.service_tier
    lines = []
    if quoted.tiers != (BASE_TIER,) and len(quoted.tiers) == 1:
        lines.append(f"at the rates of the tier {quoted.tiers[0]}")
    elif len(quoted.tiers) > 1:
        known = ", ".join(each or _ORDINARY for each in quoted.tiers)
        lines.append(f"the tier {tier} is not listed: at the dearest rates of any that is ({known})")
    elif tier:
        lines.append(f"the tier {tier} bills at the ordinary rates")
    if quoted.above_tokens:
        lines.append(f"at the rates above {quoted.above_tokens:,} input tokens")
    return lines


def _ceiling(quoted: Quote) -> str:
    if quoted.bill.tools:
        return "ceiling: none, since the call runs tools on the provider's side; --strict refuses it"
    if quoted.ceiling_nanodollars is None:
        return "ceiling: none, since neither --input and --output nor context and max_output bound it"
    most = nanodollars(quoted.ceiling_nanodollars)
    return f"ceiling: {most}, with every token at the dearest rate that could apply; --strict holds it"


def _named(asked: str, name: str) -> str:
    return name if asked == name else f"{asked} (priced as {name})"


def _point(tier: str, above_tokens: int) -> str:
    above = f"above {above_tokens:,} input" if above_tokens else ""
    return ", ".join(filter(None, (tier or (_ORDINARY if not above else ""), above)))


def _dollars(attodollars: int, *, fewest: int = NANODOLLAR_PLACES) -> str:
    return f"${written(attodollars, ATTODOLLAR_PLACES, fewest=fewest)}"


def _each(each_nanodollars: int | None) -> str:
    return "no price" if each_nanodollars is None else f"${written(each_nanodollars, NANODOLLAR_PLACES)} each"


def _tokens(tokens: int | None) -> str:
    return _NONE if tokens is None else f"{tokens:,}"


def _size(tokens: int | None) -> str:
    return "not given" if tokens is None else f"{tokens:,} tokens"


def _aligned(rows: Sequence[Sequence[str]], *, right: Iterable[int]) -> list[str]:
    """The rows with their columns aligned, those of these indexes to the right."""
    to_right = frozenset(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            f"{cell:>{width}}" if index in to_right else f"{cell:<{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
