"""leash's own price format: dollars per million tokens, every key known, every number plain.

    {"gpt-4o": {"input": 2.5, "output": 10, "reasoning": 0, "cached_input": 1.25,
                "web_search_per_request": 0.01, "max_output": 16384, "context": 128000,
                "tiers": {"batch": {"input": 1.25, "output": 5}}}}

``input`` and ``output`` are required; any other rate falls back to the coarser one (see ``rates.resolve``). A rate
of 0 is given, not omitted: ``"reasoning": 0`` makes reasoning tokens free. Whoever means that they bill as output
leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from leash.prices import number
from leash.prices.error import PriceError, quoted
from leash.prices.model import BASE_TIER_NAMES, PlainModel, tier_key
from leash.prices.rates import BASE_TIER, RATE_NAMES, no_rates

T = TypeVar("T")

_TOOL_KEYS = ("web_search_per_request", "web_fetch_per_request")
_SIZE_KEYS = ("max_output", "context")
_MODEL_KEYS = (*RATE_NAMES, *_TOOL_KEYS, *_SIZE_KEYS, "tiers")

# A model has a handful of tiers; more is a mistake, and each is looked through for every ceiling.
_MOST_TIERS = 16


def looks_own(entry: Mapping[str, object]) -> bool:
    """Whether the keys of one model are leash's own."""
    return "input" in entry or "output" in entry


def read_models(table: Mapping[str, object], duplicates: Mapping[int, str]) -> dict[str, PlainModel]:
    """The models of a table in leash's own format.

    ``duplicates`` has, by the ``id`` of an object of the table, a key that it repeats. Raises ``PriceError``.
    """
    if id(table) in duplicates:
        raise PriceError(f"model {quoted(duplicates[id(table)])} stands twice in the price table")
    return {model: _read_model(model, entry, duplicates) for model, entry in table.items()}


def _read_model(model: str, entry: object, duplicates: Mapping[int, str]) -> PlainModel:
    where = f"model {quoted(model)}"
    keys = _object(entry, where, duplicates)
    _refuse_unknown(keys, _MODEL_KEYS, where)
    for key in ("input", "output"):
        if key not in keys:
            raise PriceError(f'{where}: "{key}" is missing; write 0 where such tokens are free')
    return PlainModel(
        provider="",
        max_output_tokens=_optional(keys, "max_output", where, _size),
        context_tokens=_optional(keys, "context", where, _size),
        web_search_nanodollars=_optional(keys, "web_search_per_request", where, _per_request),
        web_fetch_nanodollars=_optional(keys, "web_fetch_per_request", where, _per_request),
        schedules={
            BASE_TIER: [(0, _rates(keys, where))],
            **_read_tiers(keys, where, duplicates),
        },
    )


def _read_tiers(
    keys: Mapping[str, object], where: str, duplicates: Mapping[int, str]
) -> dict[str, list[tuple[int, list[int | None]]]]:
    if "tiers" not in keys:
        return {}
    where_tiers = f'{where}: "tiers"'
    tiers = _object(keys["tiers"], where_tiers, duplicates)
    if len(tiers) > _MOST_TIERS:
        raise PriceError(f"{where_tiers} has {len(tiers)} tiers, and may have {_MOST_TIERS}")
    read: dict[str, list[tuple[int, list[int | None]]]] = {}
    for name, given in tiers.items():
        where_tier = f"{where}, tier {quoted(name)}"
        key = tier_key(name)
        if not name.isprintable():
            raise PriceError(f"{where_tier}: a name must be of printable characters")
        if key == BASE_TIER:
            names = ", ".join(sorted(BASE_TIER_NAMES))
            raise PriceError(f"{where_tier}: the ordinary tier ({names}) has the rates of the model itself")
        if key in read:
            raise PriceError(f"{where_tier} stands twice, by another spelling")
        rates = _object(given, where_tier, duplicates)
        _refuse_unknown(rates, RATE_NAMES, where_tier)
        read[key] = [(0, _rates(rates, where_tier))]
    return read


def _object(value: object, where: str, duplicates: Mapping[int, str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise PriceError(f"{where} must be an object with prices, not {number.describe(value)}")
    if id(value) in duplicates:
        raise PriceError(f"{where}: {quoted(duplicates[id(value)])} stands twice")
    return value


def _refuse_unknown(keys: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    for key in keys:
        if key not in known:
            # Only an error pays for the import.
            import difflib  # noqa: PLC0415

            close = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"the keys are {', '.join(known)}"
            raise PriceError(f"{where}: unknown key {quoted(key)}; {hint}")


def _rates(keys: Mapping[str, object], where: str) -> list[int | None]:
    rates = no_rates()
    for index, name in enumerate(RATE_NAMES):
        rates[index] = _optional(keys, name, where, _per_million_tokens)
    return rates


def _optional(keys: Mapping[str, object], key: str, where: str, read: Callable[[object], T]) -> T | None:
    if key not in keys:
        return None
    try:
        return read(keys[key])
    except ValueError as error:
        raise PriceError(f'{where}: "{key}" {error}') from None


def _per_million_tokens(value: object) -> int:
    return number.whole_units(value, number.PLACES_PER_MILLION_TOKENS, round_up=False)


def _per_request(value: object) -> int:
    return number.whole_units(value, number.PLACES_PER_REQUEST, round_up=False)


def _size(value: object) -> int:
    size = number.tokens(value)
    if size == 0:
        raise ValueError("must be at least one token; leave it out where it is not known")
    return size
