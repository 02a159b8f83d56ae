"""What holds for every meter on any input: what the random tests and the coverage-guided run both ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from leash_shim import messages
from leash_shim.meter import Asked, Metered, RequestFacts, WireFormat
from leash_shim.meter.endpoints import METERED
from tests.exchanges.corpus import CORPUS
from tests.exchanges.exchange import EVENTS, JSON, LINES

FORMATS: dict[str, WireFormat] = {wire_format.name: wire_format for _, wire_format, _ in METERED}
CONTENT_TYPES = (JSON, EVENTS, LINES, "")
REQUEST_TYPES = tuple(sorted({exchange.request_type for exchange in CORPUS.values()}))
PATHS = ("/v1/x", "/openai/deployments/d/x", "/v1beta/models/m:streamGenerateContent", "/models/%ff:rawPredict")

# What a request may say that its answer is read by.
FACTS = (
    RequestFacts(),
    RequestFacts(stream=True, choices=2),
    RequestFacts(server_tools=True, web_search=True),
    RequestFacts(stream=True, server_tools=True, web_search=True, other_tools=True),
)

# The contract's integers have 64 bits; counts of one call stay far below, so that sums of them fit as well.
_MOST_TOKENS = 1 << 60

# The longest name that is stored.
_MOST_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Subject:
    """A format and the Content-Type of an answer in it, with the facts of the request."""

    wire_format: WireFormat
    content_type: str
    facts: RequestFacts = field(default_factory=RequestFacts)


def check_answer(subject: Subject, body: bytes, cuts: list[int]) -> Metered:
    """Reads a body whole and in pieces; AssertionError where that is not the same, or cannot be right."""
    whole = _read(subject, [body])
    places = sorted({min(cut, len(body)) for cut in cuts})
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    assert _read(subject, pieces) == whole
    # Without a fingerprint events are passed over by their names, which may differ from what their data says.
    assert _read(subject, pieces, want_fingerprint=False).fingerprint == b""
    _check_outcome(whole)
    seen = _visible(subject, [body])
    assert _visible(subject, pieces) == seen
    # Nothing but a usage is taken out, and what stays keeps its order.
    assert seen == body if b'"usage"' not in body else _is_within(seen, body)
    return whole


def _check_outcome(metered: Metered) -> None:
    """AssertionError where an outcome cannot be told to the daemon, or its parts are more than the whole."""
    settle = messages.settle(call_id=bytes(16), run="r", status=200, metered=metered)
    abandon = messages.abandon(call_id=bytes(16), run="r", known=metered.usage)
    assert settle.usage == abandon.known
    assert settle.HasField("usage") == abandon.HasField("known") == (metered.usage is not None)
    assert len(metered.fingerprint) in (0, 8)
    assert len(settle.model) <= _MOST_CHARACTERS
    told = settle.usage
    assert all(0 <= count < _MOST_TOKENS for _, count in told.ListFields() if isinstance(count, int))
    assert len(told.service_tier) <= _MOST_CHARACTERS
    written = told.cache_write_tokens + told.cache_write_5m_tokens + told.cache_write_1h_tokens
    for part in (told.cached_input_tokens, written, told.audio_input_tokens, told.image_input_tokens):
        assert part <= told.input_tokens
    for part in (told.reasoning_tokens, told.audio_output_tokens, told.image_output_tokens):
        assert part <= told.output_tokens


def check_request(wire_format: WireFormat, asked: Asked) -> RequestFacts:
    """Reads a request; AssertionError where its facts cannot be told to the daemon."""
    facts = wire_format.read_request(asked)
    reserve = messages.reserve(call_id=bytes(16), run="r", wire_format=wire_format.name, facts=facts)
    assert reserve.choices >= 1
    assert reserve.prompts >= 1
    for bound in (facts.input_bound_tokens, facts.output_bound_tokens):
        assert bound is None or 0 <= bound < _MOST_TOKENS
    prepared = wire_format.prepare(asked.body, inject=True)
    assert prepared.hides_usage_chunk == (prepared.body != asked.body)
    return facts


def _read(subject: Subject, pieces: list[bytes], *, want_fingerprint: bool = True) -> Metered:
    meter = subject.wire_format.meter(
        content_type=subject.content_type, facts=subject.facts, want_fingerprint=want_fingerprint
    )
    for piece in pieces:
        meter.feed(piece)
        meter.peek()
    metered = meter.finish()
    assert meter.finish() == metered
    assert meter.peek() == metered.usage
    return metered


def _visible(subject: Subject, pieces: list[bytes]) -> bytes:
    """What a client sees of the pieces, where leash asked for their usage."""
    visible = subject.wire_format.visible_filter()
    if visible is None:
        return b"".join(pieces)
    return b"".join([visible.feed(piece) for piece in pieces]) + visible.finish()


def _is_within(part: bytes, whole: bytes) -> bool:
    """Whether the bytes of a part stand in the whole in the same order."""
    rest = iter(whole)
    return all(byte in rest for byte in part)
