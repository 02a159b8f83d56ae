"""The JSON that scripts read: its fields are a contract, and its amounts exact."""

from __future__ import annotations

import json
from decimal import Decimal

from leash.v1 import types_pb2
from leashctl.records import (
    encode,
    encode_line,
    entry_record,
    exported_run_record,
    inspected_record,
    instant,
    limits_record,
    run_record,
)

PROMISED = [
    *("run", "status", "reason", "calls", "open_calls", "unresolved_calls"),
    *("input_tokens", "output_tokens", "reasoning_tokens"),
    *("token_cost", "compute_cost", "total_cost", "held_cost", "max_cost", "max_calls"),
    *("started_at", "last_call_at", "pid", "owner", "ledger", "would_stop"),
]


def test_run_record_has_the_promised_fields_and_no_other() -> None:
    record = run_record(types_pb2.Account(run="a"), owner="me", ledger="/l.db")
    assert list(record) == PROMISED
    assert (record["pid"], record["started_at"], record["last_call_at"]) == (None, None, None)


def test_amounts_keep_all_their_digits() -> None:
    account = types_pb2.Account(run="a", token_cost_nanodollars=8_999_999_999_123_456_789)
    text = encode(run_record(account, owner="me", ledger="/l.db"))
    assert json.loads(text, parse_float=Decimal)["token_cost"] == Decimal("8999999999.123456789")


def test_inspected_record_adds_to_the_same_object() -> None:
    account = types_pb2.Account(run="a", status=types_pb2.STATUS_STOPPED, reason="stall")
    account.unresolved.add(call_id=b"\x01" * 16, model="m", held_nanodollars=5)
    entries = [types_pb2.Entry(seq=1, at_unix_ns=10**9, kind="opened", limits=types_pb2.Limits(max_calls=3))]
    record = inspected_record(account, entries, owner="me", ledger="/l.db")
    assert list(record)[: len(PROMISED)] == PROMISED
    assert record["entries"][0]["limits"]["max_calls"] == 3
    assert record["unresolved"][0]["call"] == "01" * 16
    assert json.loads(encode(record))["limits"]["max_cost"] == 0


def test_settled_entry_has_its_model_tokens_and_cost() -> None:
    usage = types_pb2.Usage(input_tokens=10, output_tokens=5, cached_input_tokens=4)
    entry = types_pb2.Entry(seq=2, kind="settled", call_id=b"\xff" * 16, usage=usage, cost_nanodollars=25_000_000)
    record = entry_record(entry)
    assert record["call"] == "ff" * 16
    assert record["model"] == ""
    assert (record["input_tokens"], record["output_tokens"], record["reasoning_tokens"]) == (10, 5, 0)
    assert record["cached_input_tokens"] == 4
    assert record["cost"] == Decimal("0.025")
    assert "held_cost" not in record
    assert "image_input_tokens" not in record


def test_images_are_shown_where_there_were_any() -> None:
    usage = types_pb2.Usage(input_tokens=400, image_input_tokens=323, output_tokens=1056, image_output_tokens=1056)
    record = entry_record(types_pb2.Entry(kind="settled", usage=usage))
    assert (record["image_input_tokens"], record["image_output_tokens"]) == (323, 1056)


def test_entry_has_the_fields_of_its_kind_alone() -> None:
    assert set(entry_record(types_pb2.Entry(seq=1, kind="stopped", reason="stall", hash="00"))) == {
        *("seq", "at", "kind", "reason", "hash"),
    }
    assert entry_record(types_pb2.Entry(kind="stopped", actor_uid=0))["actor_uid"] == 0
    assert entry_record(types_pb2.Entry(kind="reserved", held_nanodollars=10**9))["held_cost"] == 1


def test_instants_are_utc() -> None:
    assert instant(0) is None
    assert instant(1_795_474_444_877_553_803) == "2026-11-23T22:54:04.877553Z"
    assert instant(10**9) == "1970-01-01T00:00:01Z"


def test_limits_are_named_as_their_flags() -> None:
    limits = types_pb2.Limits(
        max_cost_nanodollars=5 * 10**9,
        deadline_ns=1_800 * 10**9,
        hold_wait_ns=1_500_000_000,
        warn_at_ppm=800_000,
        on_blind=types_pb2.BLIND_POLICY_WARN,
    )
    record = limits_record(limits)
    assert (record["max_cost"], record["deadline_seconds"], record["hold_wait_seconds"]) == (5, 1800, 1.5)
    assert (record["warn_at"], record["on_blind"], record["strict"]) == (0.8, "warn", False)


def test_an_entry_says_what_became_of_what_was_held() -> None:
    entry = types_pb2.Entry(kind="settled", released_nanodollars=10**9, reserved_seq=4, unresolved=True)
    record = entry_record(entry)
    assert (record["ended_hold"], record["reserved_seq"], record["was_unresolved"]) == (1, 4, True)
    assert "amended_cost" not in record
    entry = types_pb2.Entry(kind="settled", amends=True, amended_nanodollars=0, amends_released=True)
    record = entry_record(entry)
    assert (record["amends"], record["amended_cost"], record["amends_released"]) == (True, 0, True)


def test_figures_of_a_stop_are_in_a_persons_units() -> None:
    def figures(unit: types_pb2.Unit.ValueType) -> tuple[object, object]:
        record = entry_record(types_pb2.Entry(kind="stopped", used=3 * 10**9, limit=2 * 10**9, unit=unit))
        return record["used"], record["limit"]

    assert figures(types_pb2.UNIT_NANODOLLARS) == (3, 2)
    assert figures(types_pb2.UNIT_NANOSECONDS) == (3, 2)
    assert figures(types_pb2.UNIT_TOKENS) == (3 * 10**9, 2 * 10**9)


def test_an_exported_run_adds_to_the_promised_fields() -> None:
    record = exported_run_record(types_pb2.Account(run="a", entries=7, owner_uid=5), owner="me", ledger="/l.db")
    assert list(record)[: len(PROMISED)] == PROMISED
    assert (record["last_seq"], record["owner_uid"], record["openers"]) == (7, 5, 0)
    assert "entries" not in record
    assert record["declared"]["max_calls"] == 0


def test_a_checkpoint_has_the_account_without_what_is_about_the_host() -> None:
    entry = types_pb2.Entry(kind="checkpoint", account=types_pb2.Account(run="a", calls=9, entries=20))
    account = entry_record(entry)["account"]
    assert (account["calls"], account["last_seq"]) == (9, 20)
    assert not {"run", "pid", "owner", "ledger"} & set(account)


def test_a_line_is_one_line() -> None:
    assert encode_line({"cost": Decimal("0.025"), "text": "a\nb"}) == b'{"cost":0.025,"text":"a\\nb"}\n'
