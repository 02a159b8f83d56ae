from __future__ import annotations

from dataclasses import asdict, fields

from leash.usage import Usage
from leash.v1 import types_pb2
from leash_shim import messages
from leash_shim.meter import Metered, RequestFacts

CALL = bytes(range(16))


def test_every_field_of_a_usage_crosses() -> None:
    counts = {field.name: number for number, field in enumerate(fields(Usage), start=1)}
    usage = Usage(**(counts | {"service_tier": "flex"}))  # type: ignore[arg-type]
    message = messages.usage_message(usage)
    assert message is not None
    assert {field.name: value for field, value in message.ListFields()} == asdict(usage)
    assert {field.name for field in types_pb2.Usage.DESCRIPTOR.fields} == set(counts)


def test_a_reserve_says_what_the_request_says() -> None:
    facts = RequestFacts(
        model="m", input_bound_tokens=9, output_bound_tokens=0, choices=3, server_tools=True, service_tier="flex"
    )
    message = messages.reserve(call_id=CALL, run="r", wire_format="openai_chat", facts=facts)
    assert (message.call_id, message.run, message.format, message.model) == (CALL, "r", "openai_chat", "m")
    assert (message.input_bound_tokens, message.HasField("output_bound_tokens"), message.output_bound_tokens) == (
        9,
        True,
        0,
    )
    assert (message.choices, message.server_tools, message.service_tier, message.unmeterable) == (
        3,
        True,
        "flex",
        False,
    )


def test_an_absent_bound_stays_absent() -> None:
    message = messages.reserve(call_id=CALL, run="r", wire_format="f", facts=RequestFacts(choices=0))
    assert not message.HasField("input_bound_tokens")
    assert not message.HasField("output_bound_tokens")
    assert message.choices == 1


def test_a_request_without_facts_cannot_be_metered() -> None:
    message = messages.reserve(call_id=CALL, run="r", wire_format="", facts=None)
    assert (message.unmeterable, message.choices, message.format, message.model) == (True, 1, "", "")


def test_a_settle_tells_absent_from_zero() -> None:
    settled = messages.settle(call_id=CALL, run="r", status=200, metered=Metered(Usage(), "m", b"12345678"))
    assert settled.HasField("usage")
    assert (settled.http_status, settled.model, settled.fingerprint) == (200, "m", b"12345678")
    assert not messages.settle(call_id=CALL, run="r", status=200, metered=Metered()).HasField("usage")
    assert not messages.settle(call_id=CALL, run="r", status=500, metered=None).HasField("usage")


def test_an_abandoned_call_carries_what_is_known() -> None:
    assert messages.abandon(call_id=CALL, run="r", known=Usage(input_tokens=5)).known.input_tokens == 5
    assert not messages.abandon(call_id=CALL, run="r", known=None).HasField("known")
    assert messages.void(call_id=CALL, run="r").call_id == CALL
