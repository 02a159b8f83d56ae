"""What the ledger promises the engine: whole batches or nothing, and records that come back as they went in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from random import Random
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from leash.usage import Usage
from leashd.core.account import Basis
from leashd.core.events import Entry
from leashd.core.limits import Limits, OnBlind
from leashd.core.reasons import Reason
from leashd.ledger.codec import KINDS, decode_entry, encode_entry
from leashd.ledger.lmdb_ledger import MAP_BYTES
from tests.property.direct import DOLLAR, call_id, stage
from tests.property.seeds import seeds

ENTRIES = 200  # of each seed


def some(random: Random, hint: Any) -> Any:
    """A value of a field's type, at its edges more often than not."""
    options = [option for option in get_args(hint) if option is not NoneType]
    if get_origin(hint) in (tuple, Mapping):
        return several(random, hint, options)
    if options:
        return None if random.random() < 0.3 else some(random, options[0])
    if hint is bool:
        return random.random() < 0.5
    if hint is int:
        return random.choice((0, 1, 255, 2**32, 2**53, 2**63 - 1, random.getrandbits(40)))
    if hint is bytes:
        return random.randbytes(random.choice((0, 8, 16)))
    if hint is str:
        return random.choice(("", "gpt-x", "ä/ß: long" * 20))
    if hint in (Basis, OnBlind, Reason):
        return random.choice(tuple(hint))
    if hint is Limits:
        return Limits(
            max_cost_nanodollars=random.getrandbits(40), strict=some(random, bool), on_blind=some(random, OnBlind)
        )
    assert is_dataclass(hint), hint
    return record(random, hint)


def several(random: Random, hint: Any, options: list[Any]) -> Any:
    """A tuple of a fixed form or of any length, or a mapping."""
    if get_origin(hint) is Mapping:
        return {some(random, options[0]): some(random, options[1]) for _ in range(random.randrange(3))}
    forms = [options[0]] * random.randrange(4) if options[-1] is ... else options
    return tuple(some(random, form) for form in forms)


def record(random: Random, kind: Any) -> Any:
    """A record with some of its optional fields left out."""
    hints = get_type_hints(kind)
    given = {
        field.name: some(random, hints[field.name])
        for field in fields(kind)
        if field.default is MISSING or random.random() < 0.5
    }
    return kind(**given)


@pytest.mark.parametrize("seed", seeds())
def test_every_entry_comes_back_as_it_went_in(seed: int) -> None:
    random = Random(seed)
    for _ in range(ENTRIES):
        event = record(random, random.choice([*KINDS.values()]))
        entry = Entry(random.randint(1, 2**62), random.getrandbits(62), event)
        assert decode_entry(entry.seq, encode_entry(entry)) == entry, f"seed {seed}"


def test_usage_with_every_count_comes_back_as_it_went_in() -> None:
    usage = Usage(**{field.name: 3 for field in fields(Usage) if field.type == "int"}, service_tier="batch")
    for kind in KINDS.values():
        names = {field.name for field in fields(kind)}
        if name := next(iter({"usage", "known"} & names), None):
            event = record(Random(1), kind)
            event = type(event)(**{field.name: getattr(event, field.name) for field in fields(kind)} | {name: usage})
            assert decode_entry(1, encode_entry(Entry(1, 1, event))).event == event


def everything_in(ledger: Any) -> dict[str, list[tuple[bytes, bytes]]]:
    """Each table of an LMDB ledger, raw."""
    return {name: [(bytes(key), bytes(data)) for key, data in ledger.inner._scan(name)] for name in ledger.inner._db}


@pytest.mark.anyio
async def test_a_disk_that_is_really_full_keeps_all_of_the_old_and_nothing_of_the_new(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        shim = await world.talk(b"session1")
        shim.open("r", max_cost_nanodollars=1000 * DOLLAR)
        shim.reserve("r", call_id(1), tokens=10)
        await world.daemon.flush()
        ledger = world.daemon.ledger
        used = ledger.inner._env.info()["last_pgno"] + 1
        ledger.inner._env.set_mapsize(used * ledger.inner._env.stat()["psize"])
        before = everything_in(ledger)
        refused = [shim.reserve("r", call_id(number), tokens=10) for number in range(2, 400)]
        settled = shim.settle("r", call_id(1), 10)
        await world.daemon.flush()
        assert {type(answers[0]).__name__ for answers in (*refused, settled)} == {"Failed"}
        assert {answers[0].code.value for answers in (*refused, settled)} == {"unavailable"}
        assert everything_in(ledger) == before
        ledger.inner._env.set_mapsize(MAP_BYTES)
        again = shim.settle("r", call_id(1), 10)
        await world.daemon.flush()
        assert again[0].outcome == "settled"
        assert world.account("r").open.calls == 0
        assert world.account("r").totals.calls == 1
