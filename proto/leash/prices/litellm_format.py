"""LiteLLM's ``model_prices_and_context_window.json``: dollars per token, with suffixes for context length and tier.

The file is theirs: keys that leash does not know are left alone, ``null`` is an omitted key, a model that stands
twice is read as they read it (the last one), and the noise of their floating point beyond an attodollar is rounded
up. A key that leash knows and cannot read is an error, since a price that is passed over is a call that is too cheap.

Source: https://github.com/BerriAI/litellm, ``llm_cost_calc/utils.py`` for how suffixes and ranges are meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter

from leash.prices import number
from leash.prices.error import PriceError, quoted
from leash.prices.model import PlainModel
from leash.prices.rates import BASE_TIER, RATE_NAMES, no_rates

# An entry that documents the keys and prices nothing.
SAMPLE_ENTRY = "sample_spec"

_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
_RATE_INDEX = {key: RATE_NAMES.index(name) for key, name in _RATES.items()}
_INPUT, _OUTPUT = RATE_NAMES.index("input"), RATE_NAMES.index("output")

# How keys begin that only LiteLLM's table has.
_PREFIXES = ("input_cost_per_", "output_cost_per_", "cache_read_input_", "cache_creation_input_")

# The suffixes that compose: over how many input tokens, and in which service tier, in either order.
_TIER_SUFFIXES = {"batches": "batch"}
_TIER = "priority|flex|batches|fast|ultrafast|balanced"
_ABOVE = r"_above_(?P<{name}>[0-9]{{1,6}})(?P<{name}_thousands>k?)_tokens"
_RATE_KEY = re.compile(
    f"(?P<rate>{'|'.join(sorted(_RATES, key=len, reverse=True))})"
    f"(?:{_ABOVE.format(name='above')})?(?:_(?P<tier>{_TIER}))?(?:{_ABOVE.format(name='late')})?"
)

# These bill the rate of the longer context from the threshold itself on, not only beyond it.
_INCLUSIVE_PROVIDERS = frozenset({"xai"})

# Image tokens are no subset of their own in what a provider reports, so these modes price text at the dearer rate.
_IMAGE_MODES = frozenset({"image_generation", "image_edit"})

# Modes that generate no tokens, so that an entry may omit what they cost.
_INPUT_ONLY_MODES = frozenset({"embedding", "rerank", "moderation"})

# An entry has a handful of ranges; more is a mistake, and each is looked through for every ceiling.
_MOST_STEPS = 16

_Schedules = dict[str, dict[int, list[int | None]]]


def looks_like_litellm(entry: Mapping[str, object]) -> bool:
    """Whether the keys of one model are LiteLLM's."""
    return "litellm_provider" in entry or any(key.startswith(_PREFIXES) for key in entry)


def read_models(table: Mapping[str, object]) -> dict[str, PlainModel]:
    """The models of LiteLLM's table that have a price for tokens. Raises ``PriceError``."""
    models: dict[str, PlainModel] = {}
    for model, entry in table.items():
        if model == SAMPLE_ENTRY:
            continue
        if not isinstance(entry, dict):
            raise PriceError(f"model {quoted(model)} must be an object with prices, not {number.describe(entry)}")
        read = _read_model(model, entry)
        if read is not None:
            models[model] = read
    return models


def _read_model(model: str, entry: Mapping[str, object]) -> PlainModel | None:
    provider, mode = _text(model, entry, "litellm_provider"), _text(model, entry, "mode")
    schedules: _Schedules = {BASE_TIER: {0: no_rates()}}
    _collect(model, entry, schedules, least_above=0)
    _collect_ranges(model, entry, schedules)
    base = schedules[BASE_TIER][0]
    if mode in _IMAGE_MODES:
        _raise_to_image_rates(model, entry, base)
    if base[_OUTPUT] is None and mode in _INPUT_ONLY_MODES:
        base[_OUTPUT] = 0
    if base[_INPUT] is None or base[_OUTPUT] is None or _bills_in_another_unit(entry, schedules):
        return None
    if provider in _INCLUSIVE_PROVIDERS:
        schedules = {
            tier: {max(above - 1, 0): rates for above, rates in schedule.items()}
            for tier, schedule in schedules.items()
        }
    if any(len(schedule) > _MOST_STEPS for schedule in schedules.values()):
        raise PriceError(f"model {quoted(model)} has more than {_MOST_STEPS} context lengths with a price of their own")
    max_tokens = _size(model, entry, "max_tokens")
    context_tokens = _size(model, entry, "max_input_tokens")
    if context_tokens is None and mode in _INPUT_ONLY_MODES:
        context_tokens = max_tokens
    longest_priced = max(above for schedule in schedules.values() for above in schedule)
    if context_tokens is not None and context_tokens <= longest_priced:
        # Calls beyond the stated window have a price, so the statement is no bound.
        context_tokens = None
    return PlainModel(
        provider=provider,
        # Where it stands alone, max_tokens is the most output, or else the whole window, which is no less.
        max_output_tokens=_size(model, entry, "max_output_tokens") or max_tokens,
        context_tokens=context_tokens,
        web_search_nanodollars=_dearest_search(model, entry),
        web_fetch_nanodollars=None,
        schedules={tier: sorted(schedule.items(), key=itemgetter(0)) for tier, schedule in schedules.items()},
    )


def _collect(model: str, entry: Mapping[str, object], schedules: _Schedules, *, least_above: int) -> None:
    """Adds the token rates among an entry's keys to the schedules, at ``least_above`` where a key says no length."""
    for key, value in entry.items():
        if value is None or (place := _place(key)) is None:
            continue
        index, above_tokens, tier = place
        rates = schedules.setdefault(tier, {0: no_rates()}).setdefault(above_tokens or least_above, no_rates())
        rates[index] = _rate(model, key, value)


def _collect_ranges(model: str, entry: Mapping[str, object], schedules: _Schedules) -> None:
    """Adds ``tiered_pricing``: ranges of input tokens, each with rates for every token of a call within it."""
    ranges = entry.get("tiered_pricing")
    if ranges is None:
        return
    if not isinstance(ranges, list):
        raise PriceError(f'model {quoted(model)}: "tiered_pricing" must be a list, not {number.describe(ranges)}')
    starts: list[tuple[int, Mapping[str, object]]] = []
    for each in ranges:
        if not isinstance(each, dict):
            raise PriceError(f'model {quoted(model)}: "tiered_pricing" must list objects, not {number.describe(each)}')
        # Ranges of something else (results of a search) do not price tokens.
        if each.get("range") is not None:
            starts.append((_range_start(model, each["range"]), each))
    for position, (start, each) in enumerate(sorted(starts, key=itemgetter(0))):
        # Below the lowest range there is no price, so it reaches down to nothing.
        _collect(model, each, schedules, least_above=start if position else 0)


def _range_start(model: str, bounds: object) -> int:
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise PriceError(f'model {quoted(model)}: "range" must be a list of two token counts')
    try:
        return number.tokens(bounds[0])
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "range" {error}') from None


@lru_cache(maxsize=1024)  # the file has about 200 different keys, repeated in thousands of entries
def _place(key: str) -> tuple[int, int, str] | None:
    """Which rate a key gives: its index, over how many input tokens, and in which tier; ``None`` for another key."""
    match = _RATE_KEY.fullmatch(key)
    if match is None:
        return None
    name = "above" if match["above"] else "late"
    above_tokens = int(match[name] or 0) * (1000 if match[f"{name}_thousands"] else 1)
    tier = match["tier"] or BASE_TIER
    return _RATE_INDEX[match["rate"]], above_tokens, _TIER_SUFFIXES.get(tier, tier)


def _rate(model: str, key: str, value: object) -> int:
    try:
        return number.whole_units(value, number.PLACES_PER_TOKEN, round_up=True)
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "{key}" {error}') from None


def _raise_to_image_rates(model: str, entry: Mapping[str, object], base: list[int | None]) -> None:
    for index, key in ((_INPUT, "input_cost_per_image_token"), (_OUTPUT, "output_cost_per_image_token")):
        value = entry.get(key)
        if value is not None:
            base[index] = max(_rate(model, key, value), base[index] or 0)


def _bills_in_another_unit(entry: Mapping[str, object], schedules: _Schedules) -> bool:
    """Whether tokens are free because the model bills by something else, such as the query, page or second."""
    steps: Iterable[list[int | None]] = (rates for schedule in schedules.values() for rates in schedule.values())
    if any(rate for rates in steps for rate in rates):
        return False
    return any("cost" in key and isinstance(value, Decimal) and value > 0 for key, value in entry.items())


def _dearest_search(model: str, entry: Mapping[str, object]) -> int | None:
    """The price of a web search: the dearest of the context sizes, since the answer does not say which it was."""
    key = "search_context_cost_per_query"
    sizes = entry.get(key)
    if sizes is None:
        return None
    if not isinstance(sizes, dict):
        raise PriceError(f'model {quoted(model)}: "{key}" must be an object, not {number.describe(sizes)}')
    try:
        prices = [
            number.whole_units(price, number.PLACES_PER_REQUEST, round_up=True)
            for price in sizes.values()
            if price is not None
        ]
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "{key}" {error}') from None
    return max(prices, default=None)


def _size(model: str, entry: Mapping[str, object], key: str) -> int | None:
    """A number of tokens; the file also writes 0 where it is not known."""
    value = entry.get(key)
    if value is None:
        return None
    try:
        return number.tokens(value) or None
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "{key}" {error}') from None


def _text(model: str, entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PriceError(f'model {quoted(model)}: "{key}" must be a string, not {number.describe(value)}')
    return value
