"""What a reader makes of a table: models with their prices, and what a person should know besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from leash.prices.model import PlainModel


class Unpriced(StrEnum):
    """Why an entry of a table has no price. The values are stable."""

    NO_INPUT_PRICE = "no_input_price"
    NO_OUTPUT_PRICE = "no_output_price"
    OTHER_UNIT = "other_unit"
    REQUEST_FEE = "request_fee"


class Remark(StrEnum):
    """Where the price of an entry is not all that the table says of it. The values are stable."""

    OTHER_TOKENS_AT_DEAREST = "other_tokens_at_dearest"
    REGIONAL_UPLIFT = "regional_uplift"
    OFF_PEAK_DISCOUNT = "off_peak_discount"


@dataclass(frozen=True, slots=True)
class Reading:
    """The models that a table prices, why it does not price its other entries, and remarks on those that it does."""

    models: Mapping[str, PlainModel]
    unpriced: Mapping[str, Unpriced] = field(default_factory=dict)
    remarks: Mapping[str, tuple[Remark, ...]] = field(default_factory=dict)
