"""Prices: what a call cost, and the most that it can cost, by a table that the person supplies.

Pure: no file, clock or network; the standard library only.
"""

from leash.prices.ceiling import ceiling
from leash.prices.cost import Cost, cost
from leash.prices.error import PriceError
from leash.prices.model import ModelPrice
from leash.prices.rates import Rates
from leash.prices.table import PriceTable, find, parse_table

__all__ = ["Cost", "ModelPrice", "PriceError", "PriceTable", "Rates", "ceiling", "cost", "find", "parse_table"]
