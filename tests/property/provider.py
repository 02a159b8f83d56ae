"""The simulated provider and its price lists, with arithmetic of its own: nothing here comes from leash."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

NANODOLLARS_PER_TOKEN = 1000  # of one dollar for a million tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What the provider says that a call used."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    searches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dollars for a million tokens as decimal text, dollars for one search, and the model's bounds."""

    input: str
    output: str
    cached: str = ""
    search: str = ""
    context: int = 0
    max_output: int = 0

    def cost(self, tokens: Tokens) -> int:
        """Nanodollars, exact and rounded up once."""
        uncached = tokens.input - tokens.cached
        dollars = (
            uncached * Fraction(self.input)
            + tokens.cached * Fraction(self.cached or self.input)
            + tokens.output * Fraction(self.output)
        )
        return ceil(dollars * NANODOLLARS_PER_TOKEN) + self.tool_cost(tokens)

    def tool_cost(self, tokens: Tokens) -> int:
        """The part of the cost that is searches."""
        return int(tokens.searches * Fraction(self.search or "0") * 10**9)

    def ceiling(self, input_bound: int | None, output_bound: int | None, choices: int) -> int | None:
        """The most that a call can cost, None where it has no bound."""
        inputs = [bound for bound in (input_bound, self.context or None) if bound is not None]
        output = self.max_output or None if output_bound is None else output_bound
        most = Fraction(0)
        for rate, bound in ((self.input, min(inputs, default=None)), (self.output, output)):
            if Fraction(rate):
                if bound is None:
                    return None
                most += bound * Fraction(rate) * (choices if rate is self.output else 1)
        return ceil(most * NANODOLLARS_PER_TOKEN)


# The figures are awkward on purpose: a token of most models costs a fraction of a nanodollar more than a whole one.
MODELS = {
    "alpha": Price(input="2.5", output="10.0000003", context=4000, max_output=2000),
    "beta": Price(input="0.3333333", output="1.7", cached="0.0333333", context=8000, max_output=1000),
    "tool": Price(input="1", output="2.000001", search="0.0005", context=2000, max_output=500),
    "boundless": Price(input="0.7", output="0.9"),
    "free": Price(input="0", output="0.0", context=4000, max_output=2000),
}
DEARER = {
    "boundless": MODELS["boundless"],
    "free": MODELS["free"],
    "alpha": Price(input="3.1", output="11.1111111", context=4000, max_output=2000),
    "beta": Price(input="0.4", output="1.9999999", cached="0.05", context=8000, max_output=1000),
}
"""Another table for the same runs; it does not list ``tool``."""

UNLISTED = "unlisted"


def price_list(prices: dict[str, Price]) -> bytes:
    """A price table in leash's own format."""
    lines = []
    for name, price in prices.items():
        keys = [f'"input": {price.input}', f'"output": {price.output}']
        keys += [f'"cached_input": {price.cached}'] if price.cached else []
        keys += [f'"web_search_per_request": {price.search}'] if price.search else []
        keys += [f'"context": {price.context}'] if price.context else []
        keys += [f'"max_output": {price.max_output}'] if price.max_output else []
        lines.append(f"{json.dumps(name)}: {{{', '.join(keys)}}}")
    return ("{" + ", ".join(lines) + "}").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the provider did with one call; ``tokens`` is None where it answered with no readable usage."""

    status: int
    tokens: Tokens | None
    model: str
    fingerprint: bytes


@dataclass(slots=True)
class Provider:
    """Logs every call that reached it, and what it served."""

    log: dict[bytes, Served] = field(default_factory=dict)

    def serve(self, call: bytes, served: Served) -> Served:
        """Answers a call. A call that comes twice was forwarded twice, which no shim does."""
        assert call not in self.log, "a call was forwarded twice"
        self.log[call] = served
        return served
