"""leash's own price format: dollars per million tokens, every key known, every number plain.

    {"gpt-4o": {"input": 2.5, "output": 10, "reasoning": 0, "cached_input": 1.25,
                "web_search_per_request": 0.01, "max_output": 16384, "context": 128000,
                "above": {"64000": {"input": 5, "output": 15}},
                "tiers": {"batch": {"input": 1.25, "output": 5}}}}

``input`` and ``output`` are required; any other rate falls back to the coarser one (see ``rates.resolve``). A rate
of 0 is given, not omitted: ``"reasoning": 0`` makes reasoning tokens free. Whoever means that they bill as output
leaves it out.

``above`` has the rates of a whole call with more input tokens than each of its keys says. A model has them, and each
of its tiers may have its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TypeVar

from leash.prices import number
from leash.prices.error import PriceError, quoted
from leash.prices.model import BASE_TIER_NAMES, PlainModel, tier_key
from leash.prices.rates import BASE_TIER, RATE_NAMES, no_rates

T = TypeVar("T")

_TOOL_KEYS = ("web_search_per_request", "web_fetch_per_request")
_SIZE_KEYS = ("max_output", "context")
_TIER_KEYS = (*RATE_NAMES, "above")
MODEL_KEYS = (*_TIER_KEYS, *_TOOL_KEYS, *_SIZE_KEYS, "tiers")

# As LiteLLM's table has it; more is a mistake, and each is looked through for every ceiling.
_MOST_STEPS = 16

# JSON's keys are text: one spelling for each number, and no more digits than MOST_TOKENS has.
_THRESHOLD = re.compile(r"[1-9][0-9]{0,12}")

_Schedule = list[tuple[int, list[int | None]]]

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
    _refuse_unknown(keys, MODEL_KEYS, where)
    for key in ("input", "output"):
        if key not in keys:
            raise PriceError(f'{where}: "{key}" is missing; write 0 where such tokens are free')
    schedules = {BASE_TIER: _schedule(keys, where, duplicates), **_read_tiers(keys, where, duplicates)}
    context_tokens = _optional(keys, "context", where, _size)
    longest_priced = max(above for schedule in schedules.values() for above, _ in schedule)
    if context_tokens is not None and context_tokens <= longest_priced:
        raise PriceError(
            f'{where}: "context" is {context_tokens}, so no call has more than the {longest_priced} input tokens that '
            f'"above" names; one of the two is wrong'
        )
    return PlainModel(
        provider="",
        max_output_tokens=_optional(keys, "max_output", where, _size),
        context_tokens=context_tokens,
        web_search_nanodollars=_optional(keys, "web_search_per_request", where, _per_request),
        web_fetch_nanodollars=_optional(keys, "web_fetch_per_request", where, _per_request),
        schedules=schedules,
    )


def _schedule(keys: Mapping[str, object], where: str, duplicates: Mapping[int, str]) -> _Schedule:
    """The rates among these keys, and those of each context length under ``above``, the shortest first."""
    base = (0, _rates(keys, where))
    if "above" not in keys:
        return [base]
    where_above = f'{where}: "above"'
    steps = _object(keys["above"], where_above, duplicates)
    if len(steps) > _MOST_STEPS:
        raise PriceError(f"{where_above} has {len(steps)} context lengths, and may have {_MOST_STEPS}")
    read: _Schedule = []
    for name, given in steps.items():
        where_step = f"{where}, above {quoted(name)}"
        rates = _object(given, where_step, duplicates)
        _refuse_unknown(rates, RATE_NAMES, where_step)
        read.append((_threshold(name, where_above), _rates(rates, where_step)))
    return [base, *sorted(read, key=itemgetter(0))]


def _threshold(name: str, where: str) -> int:
    if _THRESHOLD.fullmatch(name) is None or int(name) > number.MOST_TOKENS:
        raise PriceError(
            f'{where}: {quoted(name)} must be a whole number of input tokens, such as "200000", '
            f"and at most {number.MOST_TOKENS}"
        )
    return int(name)


def _read_tiers(keys: Mapping[str, object], where: str, duplicates: Mapping[int, str]) -> dict[str, _Schedule]:
    if "tiers" not in keys:
        return {}
    where_tiers = f'{where}: "tiers"'
    tiers = _object(keys["tiers"], where_tiers, duplicates)
    if len(tiers) > _MOST_TIERS:
        raise PriceError(f"{where_tiers} has {len(tiers)} tiers, and may have {_MOST_TIERS}")
    read: dict[str, _Schedule] = {}
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
        _refuse_unknown(rates, _TIER_KEYS, where_tier)
        read[key] = _schedule(rates, where_tier, duplicates)
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
