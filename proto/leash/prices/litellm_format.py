"""LiteLLM's ``model_prices_and_context_window.json``: dollars per token, with suffixes for context length and tier.

The file is theirs: keys that leash does not know are left alone, ``null`` is an omitted key, a model that stands
twice is read as they read it (the last one), and the noise of their floating point beyond an attodollar is rounded
up. A key that leash knows and cannot read is an error, since a price that is passed over is a call that is too cheap.
For the same reason tokens that leash's usage does not tell apart bill at the dearest of their rates, and a model that
bills a fee for each request besides is not priced.

Source: https://github.com/BerriAI/litellm, ``llm_cost_calc/utils.py`` for how ranges are meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from operator import itemgetter

from leash.prices import litellm_keys, number
from leash.prices.error import PriceError, quoted
from leash.prices.litellm_keys import LONGEST_LIFE, TOLD_APART, place
from leash.prices.model import FAST_TIER, PlainModel
from leash.prices.rates import BASE_TIER, RATE_NAMES, dearest_of, no_rates, resolve
from leash.prices.reading import Reading, Remark, Unpriced

# An entry that documents the keys and prices nothing.
SAMPLE_ENTRY = "sample_spec"

_INPUT, _OUTPUT = RATE_NAMES.index("input"), RATE_NAMES.index("output")
_IMAGE_INPUT, _IMAGE_OUTPUT = RATE_NAMES.index("image_input"), RATE_NAMES.index("image_output")

# These bill the rate of the longer context from the threshold itself on, not only beyond it.
_INCLUSIVE_PROVIDERS = frozenset({"xai"})

# Modes that generate no tokens, so that an entry may omit what they cost.
_INPUT_ONLY_MODES = frozenset({"embedding", "rerank", "moderation"})

# An entry has a handful of ranges; more is a mistake, and each is looked through for every ceiling.
_MOST_STEPS = 16

# A fee beside the tokens, which no usage on the wire leads to.
_FEE = "input_cost_per_request"

# How keys begin that multiply every rate in some of the provider's regions, which leash's usage does not tell.
_UPLIFTS = ("regional_processing_uplift_multiplier", "regional_endpoint_uplift_multiplier")

# By tier and input length, as they are collected, and then as PlainModel has them.
_Collected = dict[str, dict[int, list[int | None]]]
_Schedules = dict[str, list[tuple[int, list[int | None]]]]


def looks_like_litellm(entry: Mapping[str, object]) -> bool:
    """Whether the keys of one model are LiteLLM's."""
    return "litellm_provider" in entry or any(key.startswith(litellm_keys.PREFIXES) for key in entry)


def read_models(table: Mapping[str, object]) -> Reading:
    """The models of LiteLLM's table that have a price for tokens, and a word on the rest. Raises ``PriceError``."""
    models: dict[str, PlainModel] = {}
    unpriced: dict[str, Unpriced] = {}
    remarks: dict[str, tuple[Remark, ...]] = {}
    for model, entry in table.items():
        if model == SAMPLE_ENTRY:
            continue
        if not isinstance(entry, dict):
            raise PriceError(f"model {quoted(model)} must be an object with prices, not {number.describe(entry)}")
        read = _read_model(model, entry)
        if isinstance(read, Unpriced):
            unpriced[model] = read
            continue
        models[model], said = read
        if said:
            remarks[model] = said
    return Reading(models, unpriced, remarks)


def _read_model(model: str, entry: Mapping[str, object]) -> tuple[PlainModel, tuple[Remark, ...]] | Unpriced:
    """The model's prices and what to say of them, or why it has none."""
    provider, mode = _text(model, entry, "litellm_provider"), _text(model, entry, "mode")
    collected: dict[str, _Collected] = {TOLD_APART: {BASE_TIER: {0: no_rates()}}}
    _collect(model, entry, collected, least_above=0)
    _collect_ranges(model, entry, collected)
    _fill_in_from_images(collected[TOLD_APART])
    base = collected[TOLD_APART][BASE_TIER][0]
    if base[_OUTPUT] is None and mode in _INPUT_ONLY_MODES:
        base[_OUTPUT] = 0
    reason = _unpriced(entry, collected)
    if reason is not None:
        return reason
    schedules = _merged(collected, collected)
    remarks = tuple(_remarks(entry, collected, schedules))
    _add_fast_tier(model, entry, schedules)
    if provider in _INCLUSIVE_PROVIDERS:
        schedules = {
            tier: [(max(above - 1, 0), rates) for above, rates in schedule] for tier, schedule in schedules.items()
        }
    if any(len(schedule) > _MOST_STEPS for schedule in schedules.values()):
        raise PriceError(f"model {quoted(model)} has more than {_MOST_STEPS} context lengths with a price of their own")
    max_tokens = _size(model, entry, "max_tokens")
    context_tokens = _size(model, entry, "max_input_tokens")
    if context_tokens is None and mode in _INPUT_ONLY_MODES:
        context_tokens = max_tokens
    longest_priced = max(schedule[-1][0] for schedule in schedules.values())
    if context_tokens is not None and context_tokens <= longest_priced:
        # Calls beyond the stated window have a price, so the statement is no bound.
        context_tokens = None
    plain = PlainModel(
        provider=provider,
        # Where it stands alone, max_tokens is the most output, or else the whole window, which is no less.
        max_output_tokens=_size(model, entry, "max_output_tokens") or max_tokens,
        context_tokens=context_tokens,
        web_search_nanodollars=_dearest_search(model, entry),
        web_fetch_nanodollars=None,
        schedules=schedules,
    )
    return plain, remarks


def _fill_in_from_images(told_apart: _Collected) -> None:
    """Prices any token as an image's where an entry has no other price, as those of models that draw."""
    base = told_apart[BASE_TIER][0]
    for kind, image in ((_INPUT, _IMAGE_INPUT), (_OUTPUT, _IMAGE_OUTPUT)):
        if base[kind] is None:
            for rates in (rates for schedule in told_apart.values() for rates in schedule.values()):
                rates[kind] = rates[image] if rates[kind] is None else rates[kind]


def _unpriced(entry: Mapping[str, object], collected: Mapping[str, _Collected]) -> Unpriced | None:
    """Why such an entry is not priced; ``None`` where it is."""
    fee = entry.get(_FEE)
    if isinstance(fee, Decimal) and fee > 0:
        return Unpriced.REQUEST_FEE
    if _bills_in_another_unit(entry, collected):
        return Unpriced.OTHER_UNIT
    if _dearest_at_base(collected, _INPUT) is None:
        return Unpriced.NO_INPUT_PRICE
    return Unpriced.NO_OUTPUT_PRICE if _dearest_at_base(collected, _OUTPUT) is None else None


def _dearest_at_base(collected: Mapping[str, _Collected], kind: int) -> int | None:
    base = [schedules.get(BASE_TIER, {}).get(0, no_rates())[kind] for schedules in collected.values()]
    return max((rate for rate in base if rate is not None), default=None)


def _merged(collected: Mapping[str, _Collected], whose: Iterable[str]) -> _Schedules:
    """Schedules in which each rate is the dearest of these tokens that count under it; those told apart stand first."""
    told_apart, *others = (collected[tokens] for tokens in whose)
    readings = [told_apart, *(_instead(told_apart, given) for given in others)]
    for reading in readings:
        base = reading[BASE_TIER][0]
        for kind in (_INPUT, _OUTPUT):
            if base[kind] is None:
                base[kind] = _dearest_at_base(collected, kind)
    in_order = [
        {tier: sorted(schedule.items(), key=itemgetter(0)) for tier, schedule in reading.items()}
        for reading in readings
    ]
    return dearest_of(in_order) if others else in_order[0]


def _instead(told_apart: _Collected, given: _Collected) -> _Collected:
    """The schedules told apart, where a kind of rate that is given, and is dearer anywhere, is only as it is given.

    One that is nowhere dearer is the same by another name, and follows it into every tier.
    """
    kinds = {
        kind
        for tier, schedule in given.items()
        for above, rates in schedule.items()
        for kind, rate in enumerate(rates)
        if rate is not None and rate > (told_apart.get(tier, {}).get(above, no_rates())[kind] or 0)
    }
    merged: _Collected = {
        tier: {
            above: [None if kind in kinds else rate for kind, rate in enumerate(rates)]
            for above, rates in schedule.items()
        }
        for tier, schedule in told_apart.items()
    }
    for tier, schedule in given.items():
        for above, rates in schedule.items():
            instead = merged.setdefault(tier, {0: no_rates()}).setdefault(above, no_rates())
            for kind in kinds:
                instead[kind] = rates[kind]
    return merged


def _add_fast_tier(model: str, entry: Mapping[str, object], schedules: _Schedules) -> None:
    """Adds the tier of an entry that bills its faster processing at a multiple of every rate."""
    key = "provider_specific_entry"
    specific = entry.get(key)
    factor = specific.get(FAST_TIER) if isinstance(specific, dict) else None
    if factor is None or FAST_TIER in schedules:
        return
    try:
        ppm = number.factor_ppm(factor)
        schedules[FAST_TIER] = [
            (step.above_tokens, [number.scaled(rate, ppm) for rate in step.rates])
            for step in resolve({BASE_TIER: schedules[BASE_TIER]})[BASE_TIER]
        ]
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "{FAST_TIER}" in "{key}" {error}') from None


def _remarks(
    entry: Mapping[str, object], collected: Mapping[str, _Collected], schedules: _Schedules
) -> Iterator[Remark]:
    """What a person should know of the prices of an entry."""
    usual = [tokens for tokens in (TOLD_APART, LONGEST_LIFE) if tokens in collected]
    if len(usual) < len(collected) and resolve(_merged(collected, usual)) != resolve(schedules):
        yield Remark.OTHER_TOKENS_AT_DEAREST
    specific = entry.get("provider_specific_entry")
    regions = specific.items() if isinstance(specific, dict) else ()
    uplifts = [*((key, value) for key, value in entry.items() if key.startswith(_UPLIFTS)), *regions]
    if any(isinstance(value, Decimal) and value > 1 for key, value in uplifts if key != FAST_TIER):
        yield Remark.REGIONAL_UPLIFT
    if entry.get("off_peak_pricing") is not None:
        yield Remark.OFF_PEAK_DISCOUNT


def _collect(model: str, entry: Mapping[str, object], collected: dict[str, _Collected], *, least_above: int) -> None:
    """Collects the token rates among an entry's keys, at ``least_above`` where a key says no length."""
    for key, value in entry.items():
        if value is None or (at := place(key)) is None:
            continue
        schedules = collected.setdefault(at.tokens, {})
        rates = schedules.setdefault(at.tier, {0: no_rates()}).setdefault(at.above_tokens or least_above, no_rates())
        rates[at.kind] = _rate(model, key, value)


def _collect_ranges(model: str, entry: Mapping[str, object], collected: dict[str, _Collected]) -> None:
    """Collects ``tiered_pricing``: ranges of input tokens, each with rates for every token of a call within it."""
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
        _collect(model, each, collected, least_above=start if position else 0)


def _range_start(model: str, bounds: object) -> int:
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise PriceError(f'model {quoted(model)}: "range" must be a list of two token counts')
    try:
        return number.tokens(bounds[0])
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "range" {error}') from None


def _rate(model: str, key: str, value: object) -> int:
    try:
        return number.whole_units(value, number.PLACES_PER_TOKEN, round_up=True)
    except ValueError as error:
        raise PriceError(f'model {quoted(model)}: "{key}" {error}') from None


def _bills_in_another_unit(entry: Mapping[str, object], collected: Mapping[str, _Collected]) -> bool:
    """Whether tokens are free because the model bills by something else, such as the query, page or second."""
    schedules = (schedule for by_tier in collected.values() for schedule in by_tier.values())
    if any(rate for schedule in schedules for rates in schedule.values() for rate in rates):
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
