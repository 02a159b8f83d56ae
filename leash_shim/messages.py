"""A call in the words of the contract with the daemon: from the meters' records to its messages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leash.v1 import shim_pb2, types_pb2

if TYPE_CHECKING:
    from leash.usage import Usage
    from leash_shim.meter import Metered, RequestFacts


def reserve(*, call_id: bytes, run: str, wire_format: str, facts: RequestFacts | None) -> shim_pb2.Reserve:
    """Asks for admission. Without facts, the endpoint bills and its usage is not on the wire."""
    if facts is None:
        return shim_pb2.Reserve(call_id=call_id, run=run, choices=1, unmeterable=True)
    return shim_pb2.Reserve(
        call_id=call_id,
        run=run,
        format=wire_format,
        model=facts.model,
        input_bound_tokens=facts.input_bound_tokens,
        output_bound_tokens=facts.output_bound_tokens,
        choices=max(facts.choices, 1),
        prompts=max(facts.prompts, 1),
        server_tools=facts.server_tools,
        service_tier=facts.service_tier,
    )


def explain(refused: shim_pb2.Refused, why: str) -> None:
    """Puts what the shim knows of an endpoint that cannot be metered in place of the daemon's general sentence."""
    if why and refused.payment_required and refused.reason == types_pb2.REASON_METER_BLIND:
        refused.detail = f"{why}, or let it through unmetered with --on-blind allow"


def settle(*, call_id: bytes, run: str, status: int, metered: Metered | None) -> shim_pb2.Settle:
    """Closes a call with what the wire reported; with nothing where it was not metered."""
    if metered is None:
        return shim_pb2.Settle(call_id=call_id, run=run, http_status=status)
    return shim_pb2.Settle(
        call_id=call_id,
        run=run,
        http_status=status,
        usage=usage_message(metered.usage),
        model=metered.model,
        fingerprint=metered.fingerprint,
    )


def void(*, call_id: bytes, run: str) -> shim_pb2.Void:
    """Closes a call that never reached the provider."""
    return shim_pb2.Void(call_id=call_id, run=run)


def abandon(*, call_id: bytes, run: str, known: Usage | None) -> shim_pb2.Abandon:
    """Closes a call whose outcome is unknown, with what was reported before it was cut."""
    return shim_pb2.Abandon(call_id=call_id, run=run, known=usage_message(known))


def usage_message(usage: Usage | None) -> types_pb2.Usage | None:
    """A usage as a message; None stays absent."""
    if usage is None:
        return None
    return types_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        web_search_requests=usage.web_search_requests,
        web_fetch_requests=usage.web_fetch_requests,
        other_tool_requests=usage.other_tool_requests,
        service_tier=usage.service_tier,
        image_input_tokens=usage.image_input_tokens,
        image_output_tokens=usage.image_output_tokens,
    )
