"""Prices: what a call cost, and the most that it can cost, by a table that the person supplies.

Pure: no file, clock or network; the standard library only.
"""

from leash.prices.ceiling import ceiling
from leash.prices.cost import Bill, Cost, TokenLine, ToolLine, cost, itemize
from leash.prices.error import PriceError
from leash.prices.model import ModelPrice
from leash.prices.rates import Rates
from leash.prices.table import PriceTable, find, parse_table

__all__ = [
    "Bill",
    "Cost",
    "ModelPrice",
    "PriceError",
    "PriceTable",
    "Rates",
    "TokenLine",
    "ToolLine",
    "ceiling",
    "cost",
    "find",
    "itemize",
    "parse_table",
]
