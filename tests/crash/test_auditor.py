"""The auditor by itself: what it finds in evidence that is wrong in one place, and that it owes nothing to leash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.auditor import Evidence, audit
from tests.harness import REPOSITORY

LEASH = ("leash", "leashd", "leashctl", "leash_shim", "grpc", "lmdb")

# Prices of a dollar and two for a million tokens: 10 + 5 tokens cost 20,000 nanodollars, of a hold of 50,000.
PRICES = {"m": {"input": 1, "output": 2}}
LIMITS = {"max_cost": 0.00012, "max_calls": 3, "strict": True}
USAGE = {"input": 10, "output": 5, "cached": 0, "reasoning": 0}
TOKENS = {"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 0}

Files = dict[str, list[dict[str, Any]]]


def reserved(call: str) -> dict[str, Any]:
    return {"kind": "reserved", "call": call, "session": "s", "model": "m", "held_cost": 0.00005}


def settled(call: str, **other: Any) -> dict[str, Any]:
    return {"kind": "settled", "call": call, "model": "m", "cost": 0.00002, "http_status": 200, **TOKENS} | other


def abandoned(call: str, **other: Any) -> dict[str, Any]:
    return {"kind": "abandoned", "call": call, "model": "m", "held_cost": 0.00005} | other


def resolved(call: str, **other: Any) -> dict[str, Any]:
    return {"kind": "resolved", "call": call, "model": "m", "cost": 0, "released": True} | other


def whole() -> Files:
    """Evidence in which nothing is wrong: one call that was settled, and one whose shim was killed."""
    journal: list[dict[str, Any]] = [
        {"kind": "opened", "session": "s", "limits": LIMITS},
        reserved("c1"),
        reserved("c2"),
        settled("c1"),
        abandoned("c2"),
        {"kind": "closed", "session": "s", "reason": "opener_lost"},
    ]
    account = {
        "calls": 1,
        "open_calls": 0,
        "unresolved_calls": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "reasoning_tokens": 0,
        "cached_input_tokens": 0,
        "token_cost": 0.00002,
        "held_cost": 0.00005,
        "error_calls": 0,
        "status": "finished",
        "reason": "opener_lost",
    }
    return {
        "journal": journal,
        "account": [account],
        "provider": [
            {"e": "received", "n": 1, "tag": "t1"},
            {"e": "usage", "n": 1, "status": 200, **USAGE},
            {"e": "finished", "n": 1},
            {"e": "received", "n": 2, "tag": "t2"},
            {"e": "finished", "n": 2},
        ],
        "links": [{"call": f"c{n}", "tag": f"t{n}", "run": "r", "pid": n} for n in (1, 2)],
        "kills": [{"pids": [2]}],
    }


def found(files: Files, directory: Path) -> tuple[str, ...]:
    """What the audit says of the evidence."""
    entries = [{"seq": seq, **entry} for seq, entry in enumerate(files["journal"], 1)]
    journal = [{"type": "entry", "run": "r", **entry} for entry in entries]
    journal += [{"type": "run", "run": "r", **account} for account in files["account"]]
    names = {"journal.jsonl": journal, "provider.log": files["provider"], "links.log": files["links"]}
    for name, records in (names | {"kills.jsonl": files["kills"]}).items():
        (directory / name).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (directory / "prices.json").write_text(json.dumps(PRICES))
    return audit(Evidence.read(directory)).violations


def test_evidence_that_agrees_is_clean(tmp_path: Path) -> None:
    assert found(whole(), tmp_path) == ()


Spoil = Callable[[Files], object]


def entries(*others: dict[str, Any], at: int = 5) -> Spoil:
    """Puts entries into the journal."""
    return lambda files: files["journal"].__setitem__(slice(at, at), others)


def edited(name: str, at: int, **change: Any) -> Spoil:
    """Changes one record."""
    return lambda files: files[name][at].update(change)


def without(name: str, at: int) -> Spoil:
    """Takes one record away."""
    return lambda files: files[name].pop(at)


WRONG: dict[str, tuple[Spoil, str]] = {
    "a call that is in no ledger": (without("journal", 2), "the ledger has no call c2"),
    "a call that is settled twice": (entries(settled("c1")), "the call is settled already"),
    "a call that is resolved twice": (entries(resolved("c2"), resolved("c2")), "a call that is not unresolved"),
    "a call that is reserved twice": (entries(reserved("c1")), "was reserved before"),
    "a call that nobody served": (
        lambda files: files["provider"].__setitem__(slice(3), []),
        "no provider has served it",
    ),
    "a request that no shim had": (without("links", 0), "no shim has had it"),
    "a call that is served twice": (
        lambda files: files["provider"].append({"e": "received", "n": 3, "tag": "t1"}),
        "was forwarded before",
    ),
    "a served call that is voided": (edited("journal", 4, kind="voided"), "was served, and voided"),
    "a call that stays open": (without("journal", 4), "is open still"),
    "another usage": (edited("journal", 3, input_tokens=11), "input_tokens 11, and the provider said 10"),
    "another status": (edited("provider", 1, status=500), "the provider answered 500"),
    "another cost": (edited("journal", 3, cost=0.000021), "costs 21000 nanodollars, and by its prices 20000"),
    "a part of a nanodollar": (edited("journal", 3, cost=0.0000200005), "no whole number of nanodollars"),
    "a hold that shrinks": (edited("journal", 4, held_cost=0.00004), "keeps 40000 of a hold of 50000"),
    "a live shim that loses an answer": (without("kills", 0), "though its shim lived and its answer was whole"),
    "a strict budget that is crossed": (entries(reserved("c3"), at=3), "under --strict"),
    "no room": (entries(reserved("c3"), at=3), "there is no room"),
    "too many calls": (edited("journal", 0, limits={"max_calls": 1}), "call 2 of at most 1"),
    "a stop that does not stay": (
        entries({"kind": "stopped", "reason": "kill_switch"}, reserved("c3"), at=1),
        "was stopped by kill_switch and not raised",
    ),
    "a gap": (edited("journal", 5, seq=7), "follows entry 5"),
    "another total": (edited("account", 0, token_cost=0.00003), "its account says token_cost 30000"),
    "another count of calls": (edited("account", 0, calls=2), "its account says calls 2"),
    "another status of the run": (edited("account", 0, status="running"), "its account says status running"),
    "a run without an account": (without("account", 0), "has entries and no account"),
    "an unknown kind": (edited("journal", 5, kind="wished"), "does not know"),
    "a session that was not there": (entries({"kind": "closed", "session": "x", "reason": ""}), "had not opened"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_whatever_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    spoil, named = WRONG[name]
    files = whole()
    spoil(files)
    violations = found(files, tmp_path)
    assert any(named in violation for violation in violations), violations


def test_a_stop_that_a_person_lifts_admits_again(tmp_path: Path) -> None:
    files = whole()
    files["journal"][1:1] = [
        {"kind": "stopped", "reason": "kill_switch"},
        {"kind": "raised", "lifted": True, "limits": LIMITS},
    ]
    assert found(files, tmp_path) == ()


def test_a_late_settle_amends_what_a_person_said(tmp_path: Path) -> None:
    files = whole()
    files["journal"][5:5] = [resolved("c2"), settled("c2", amends=True, amends_released=True)]
    files["provider"].insert(4, {"e": "usage", "n": 2, "status": 200, **USAGE})
    twice = {"calls": 2, "unresolved_calls": 0, "input_tokens": 20, "output_tokens": 10}
    files["account"][0].update(twice, token_cost=0.00004, held_cost=0)
    assert found(files, tmp_path) == ()


def test_the_auditor_shares_no_code_with_leash() -> None:
    program = "import sys, tests.crash.auditor; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tests" in loaded
    assert not loaded & set(LEASH)
