"""Price tables: reading one, finding a model in it, and the form in which the ledger stores it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from leash.prices import leash_format, litellm_format, number
from leash.prices.error import PriceError, quoted
from leash.prices.model import ModelPrice, PlainModel
from leash.prices.reading import Reading, Remark, Unpriced

# The version of the plain form. It changes when stored tables would be read differently; an unknown one is refused.
# Rates are added at the end without a new one, since a table that was stored before omits them.
PLAIN_VERSION = 1

# LiteLLM's table is about 3 MiB; the wire takes this much at most.
MOST_TABLE_BYTES = 16 * 2**20

# The two formats, by stable names.
OWN = "leash"
LITELLM = "litellm"


class PriceTable:
    """The prices of many models, looked up by name.

    In leash's own format a name is found as it is written. In LiteLLM's, where providers prefix names, it is looked
    for in this order, and the first that finds it wins:

    1. the name itself;
    2. the name behind one provider (``grok-4`` finds ``xai/grok-4``), where only one entry is named so, or all that
       are have the same prices;
    3. the name without its provider (``openai/gpt-4o`` finds ``gpt-4o``), where that entry is of that provider.

    Models are read when they are first asked for, so that a table of thousands is there at once.
    """

    __slots__ = ("_behind_provider", "_models", "_prices", "format_name", "remarks", "unpriced")

    def __init__(self, format_name: str, models: Mapping[str, list[Any]], reading: Reading | None = None) -> None:
        self.format_name = format_name
        # What is said of the entries of a file. The ledger keeps prices alone, so a stored table has none of it.
        self.unpriced: Mapping[str, Unpriced] = reading.unpriced if reading else {}
        self.remarks: Mapping[str, tuple[Remark, ...]] = reading.remarks if reading else {}
        self._models = models
        # At most as many as the table has names, since what is not found is not kept.
        self._prices: dict[str, ModelPrice] = {}
        self._behind_provider: dict[str, list[str]] | None = None

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def get(self, model: str) -> ModelPrice | None:
        """The prices of a model, or ``None`` where the table does not price it."""
        name = self.name_of(model)
        return None if name is None else self._price(name)

    def name_of(self, model: str) -> str | None:
        """The name of the entry that prices a model, or ``None`` where none does."""
        if model in self._models:
            return model
        if self.format_name != LITELLM or not model:
            return None
        return self._name_behind_provider(model) or self._name_without_provider(model)

    def given(self, name: str) -> PlainModel:
        """The entry of this very name as the table gives it, omitted rates and all. Raises ``KeyError``."""
        return PlainModel.from_plain(self._models[name])

    def to_plain(self) -> dict[str, Any]:
        """The table as maps, lists, strings, integers of 64 bits and ``None``."""
        return {"version": PLAIN_VERSION, "format": self.format_name, "models": self._models}

    @classmethod
    def from_plain(cls, plain: object) -> PriceTable:
        """The table that ``to_plain`` gave. Raises ``PriceError`` where it is of another version."""
        match plain:
            case {"version": version, "format": str(format_name), "models": dict(models)} if version == PLAIN_VERSION:
                return cls(format_name, models)
            case _:
                raise PriceError("the stored price table was not written by this version of leash; import it again")

    def _price(self, name: str) -> ModelPrice:
        price = self._prices.get(name)
        if price is None:
            price = self._prices[name] = self.given(name).price()
        return price

    def _name_behind_provider(self, model: str) -> str | None:
        if self._behind_provider is None:
            self._behind_provider = {}
            for name in self._models:
                _, slash, rest = name.partition("/")
                if slash:
                    self._behind_provider.setdefault(rest, []).append(name)
        names = self._behind_provider.get(model, ())
        return names[0] if names and all(self._price(name) == self._price(names[0]) for name in names) else None

    def _name_without_provider(self, model: str) -> str | None:
        provider, _, rest = model.partition("/")
        return rest if rest in self._models and self.given(rest).provider == provider else None


def find(table: PriceTable, requested: str, answered: str) -> tuple[str, ModelPrice] | None:
    """The name and prices of the model that the request named if the table has it, else of the one that answered."""
    for name in (requested, answered):
        price = table.get(name)
        if price is not None:
            return name, price
    return None


def parse_table(text: bytes) -> PriceTable:
    """Reads a price table in leash's own format or LiteLLM's, told apart by the keys of its models.

    Raises ``PriceError`` that names the model and the key where it can.
    """
    table, duplicates = _read_json(text)
    if not table:
        raise PriceError("the price table is empty")
    if _is_litellm(table):
        format_name, reading = LITELLM, litellm_format.read_models(table)
    else:
        format_name, reading = OWN, Reading(leash_format.read_models(table, duplicates))
    for name in reading.models:
        # A lone surrogate, which JSON can spell, is no text that a ledger or a terminal takes.
        if not name.isprintable() or not name:
            raise PriceError(f"model {quoted(name)}: a name must be of printable characters")
    if not reading.models:
        raise PriceError("the price table prices no model by its tokens")
    return PriceTable(format_name, {model: plain.to_plain() for model, plain in reading.models.items()}, reading)


def _is_litellm(table: Mapping[str, object]) -> bool:
    """Whether the table is LiteLLM's. Raises ``PriceError`` where some models are theirs and some leash's own."""
    own = theirs = None
    for model, entry in table.items():
        if not isinstance(entry, dict):
            continue
        if leash_format.looks_own(entry):
            own = own or model
        elif litellm_format.looks_like_litellm(entry):
            theirs = theirs or model
    if own is not None and theirs is not None:
        raise PriceError(
            f"the price table mixes two formats: model {quoted(own)} has leash's keys, in dollars per million tokens, "
            f"and model {quoted(theirs)} LiteLLM's, in dollars per token"
        )
    return own is None and (theirs is not None or litellm_format.SAMPLE_ENTRY in table)


def _read_json(text: bytes) -> tuple[dict[str, object], dict[int, str]]:
    """The table's object, and by the ``id`` of each object in it that repeats a key, that key."""
    if len(text) > MOST_TABLE_BYTES:
        raise PriceError(f"the price table has {len(text)} bytes, and may have {MOST_TABLE_BYTES}")
    duplicates: dict[int, str] = {}

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        collected = dict(pairs)
        if len(collected) < len(pairs):
            duplicates[id(collected)] = _first_repeated(key for key, _ in pairs)
        return collected

    try:
        table = json.loads(
            text.decode("utf-8-sig"),
            parse_float=_decimal,
            parse_int=_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=collect,
        )
    except UnicodeDecodeError:
        raise PriceError("the price table is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise PriceError(f"the price table is no JSON: {error}") from None
    except RecursionError:
        raise PriceError("the price table is nested too deeply") from None
    if not isinstance(table, dict):
        raise PriceError(f"the price table must be an object of models, not {number.describe(table)}")
    return table, duplicates


def _first_repeated(keys: Iterable[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return ""


def _decimal(text: str) -> Decimal:
    if len(text) > number.MOST_NUMBER_CHARACTERS:
        raise PriceError(f"the price table has a number of {len(text)} characters: {text[:20]}…")
    return Decimal(text)


def _refuse_constant(name: str) -> NoReturn:
    raise PriceError(f"the price table has {name}, which is no price")
