"""What leash answers by itself: the refusals of the daemon, and its own failures. Pure.

The rule: an official SDK puts one request on the wire for a terminal refusal. So a terminal one carries
``x-should-retry: false`` and no ``Retry-After``; a transient one carries ``Retry-After``, and nothing else does. For
clients that retry a 429 all the same there is another status, by their User-Agent; what each of them does is measured
in ``docs/clients.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from leash.live.text import reason_name
from leash.units import NANOSECONDS_PER_SECOND, dollars_number, format_dollars_of, format_duration
from leash.v1 import types_pb2

if TYPE_CHECKING:
    from decimal import Decimal

    from leash.v1 import shim_pb2
    from leash_shim.door import Denial

# The longest Retry-After that SDKs honour: beyond a minute they fall back to their own, shorter back-off.
MAX_RETRY_AFTER_SECONDS = 60

# A terminal refusal with one of these reasons stopped the run; with any other, smaller or other calls may go on.
_STOPPING = frozenset(
    (
        types_pb2.REASON_KILL_SWITCH,
        types_pb2.REASON_DEADLINE,
        types_pb2.REASON_COST_BUDGET,
        types_pb2.REASON_MAX_CALLS,
        types_pb2.REASON_STALL,
        types_pb2.REASON_METER_BLIND,
        types_pb2.REASON_UNPRICED_MODEL,
        types_pb2.REASON_SERVER_TOOL_UNPRICED,
        types_pb2.REASON_MAX_COST_PER_CALL,
    )
)

_UNIT_NAMES = {
    types_pb2.UNIT_NANODOLLARS: "dollars",
    types_pb2.UNIT_CALLS: "calls",
    types_pb2.UNIT_NANOSECONDS: "seconds",
    types_pb2.UNIT_TOKENS: "tokens",
    types_pb2.UNIT_REPLIES: "replies",
}

# google.rpc.Code, which Google's SDKs show beside the HTTP status. Whatever is not here is the request's own fault.
_GOOGLE_STATUSES = {
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# RFC 9110 sections 15.5.2 and 15.6: the first comes with a challenge, below the second the fault is the request's.
_UNAUTHORIZED = 401
_FIRST_SERVER_ERROR = 500

# What the token is called in a challenge; there are clients that take a 401 without one for a broken connection.
_CHALLENGE = (b"www-authenticate", b'X-Leash-Token realm="leash"')

_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRule:
    """Clients that need a status of their own for a terminal refusal, known by their User-Agent.

    ``stream_code`` is the error code with which they take a stream that failed for final; empty where any will do.
    ``websocket_status`` is the status upon which they turn to HTTP where a WebSocket is refused.
    """

    name: str
    user_agent: re.Pattern[str]
    status: int
    why: str
    stream_code: str = ""
    websocket_status: int = 400


# Every other client gets a 429, or a 402 where the request itself cannot be governed. The first that fits counts.
CLIENT_RULES = (
    ClientRule(
        name="Codex",
        user_agent=re.compile(r"\Acodex[ _-]", re.IGNORECASE),
        status=400,
        why="It retries a 402, and shows nothing of a 429 but its number; a 400 ends its turn with the text.",
        stream_code="invalid_prompt",
        websocket_status=426,
    ),
    ClientRule(
        name="Vercel AI SDK",
        user_agent=re.compile(r"\bai-sdk/"),
        status=402,
        why="It retries a 429 twice, whatever the headers say.",
    ),
    ClientRule(
        name="Google Gen AI SDK, Gemini CLI",
        user_agent=re.compile(r"\bgoogle-genai-sdk/|\AGeminiCLI[/-]"),
        status=402,
        why="They retry a 429, the SDK four times where its retries are turned on, whatever the headers say.",
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer of leash's own. ``code`` is the stable code or reason in it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    code: str = ""

    @property
    def blames_request(self) -> bool:
        """Whether the fault lies with the request: RFC 9110 section 15.5."""
        return self.status < _FIRST_SERVER_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whom an answer is for: its User-Agent, and the provider in whose form it reads errors.

    ``chosen_status`` is what the person chose for every terminal refusal; None leaves the choice to leash.
    """

    user_agent: str = ""
    provider: str = "openai"
    chosen_status: int | None = None

    def terminal_status(self, usual: int) -> int:
        """The status of a terminal refusal, ``usual`` being that of clients without needs of their own."""
        if self.chosen_status is not None:
            return self.chosen_status
        return usual if self.rule is None else self.rule.status

    @property
    def rule(self) -> ClientRule | None:
        """What this client needs; None for one that needs nothing."""
        return rule_for(self.user_agent)


def rule_for(user_agent: str) -> ClientRule | None:
    """What the client of this User-Agent needs; None for one that needs nothing."""
    return next((rule for rule in CLIENT_RULES if rule.user_agent.search(user_agent)), None)


def websocket(user_agent: str) -> Answer:
    """The answer to an upgrade: no wire format over WebSocket is metered."""
    rule = rule_for(user_agent)
    status = 400 if rule is None else rule.websocket_status
    return failed(status, "websocket", "leash does not govern WebSockets; use the provider's HTTP endpoints")


def refused(run: str, refusal: shim_pb2.Refused, reader: Reader) -> Answer:
    """The answer to a call that the daemon refused.

    429 where a retry helps. For the others ``reader`` decides, from a usual 402 where the request itself cannot be
    governed, and a usual 429 elsewhere.
    """
    reason = reason_name(refusal.reason)
    error: dict[str, Any] = {
        "type": "leash_boundary",
        "code": reason,
        "reason": reason,
        "message": _refused_message(run, refusal),
        "run": run,
        "calls": refusal.calls,
        "token_cost": dollars_number(refusal.token_cost_nanodollars),
        "compute_cost": dollars_number(refusal.compute_cost_nanodollars),
        "total_cost": dollars_number(refusal.total_cost_nanodollars),
        "limit": _figure(refusal.limit, refusal.unit),
        "used": _figure(refusal.used, refusal.unit),
        "unit": _UNIT_NAMES.get(refusal.unit),
    }
    if refusal.transient:
        seconds = min(max(refusal.retry_after_seconds, 1), MAX_RETRY_AFTER_SECONDS)
        return _answer(
            429, _boundary(429, error, reader), error["code"], (b"retry-after", str(seconds).encode("ascii"))
        )
    return _terminal(error, reader, usual=402 if refusal.payment_required else 429)


def aborted(run: str, reason: types_pb2.Reason.ValueType, reader: Reader) -> Answer:
    """The answer to a call in flight that ``kill --now`` cut; what the call came to is not known here."""
    name = reason_name(reason)
    error = {
        "type": "leash_boundary",
        "code": name,
        "reason": name,
        "message": _aborted_message(run, name),
        "run": run,
    }
    return _terminal(error, reader, usual=429)


def aborted_stream(run: str, reason: types_pb2.Reason.ValueType, reader: Reader) -> bytes:
    """The event that ends a stream of OpenAI's responses which ``kill --now`` cut: without it clients connect again."""
    name = reason_name(reason)
    code = reader.rule.stream_code if reader.rule is not None else ""
    error = {"code": code or name, "message": _aborted_message(run, name)}
    response: dict[str, Any] = {"object": "response", "status": "failed", "error": error, "output": [], "usage": None}
    event = {"type": "response.failed", "response": response}
    return b"event: response.failed\ndata: " + _encoder.encode(event) + b"\n\n"


def failed(status: int, code: str, message: str, *, retry_after_seconds: int = 0, provider: str = "openai") -> Answer:
    """The answer where leash itself, or the way to the provider, failed. ``code`` is stable, ``message`` for people.

    Clients are told not to ask again where they would get the same answer.
    """
    error = {"type": "leash_gateway", "code": code, "message": message}
    body = _encoder.encode(_shaped(status, error, provider))
    more: list[tuple[bytes, bytes]] = [_CHALLENGE] if status == _UNAUTHORIZED else []
    if retry_after_seconds:
        more.append((b"retry-after", str(retry_after_seconds).encode("ascii")))
    elif status < _FIRST_SERVER_ERROR:
        more.append((b"x-should-retry", b"false"))
    return _answer(status, body, code, *more)


def denied(denial: Denial, provider: str) -> Answer:
    """The answer to a request that does not come in."""
    return failed(
        denial.status,
        denial.code,
        denial.message,
        retry_after_seconds=denial.retry_after_seconds,
        provider=provider,
    )


def _aborted_message(run: str, reason: str) -> str:
    return f"leash stopped run {run}: {reason} (this call was in flight and was aborted)"


def _terminal(error: dict[str, Any], reader: Reader, *, usual: int) -> Answer:
    status = reader.terminal_status(usual)
    return _answer(status, _boundary(status, error, reader), error["code"], (b"x-should-retry", b"false"))


def _boundary(status: int, error: dict[str, Any], reader: Reader) -> bytes:
    """The body of a refusal. Anthropic's SDKs look for the type at the top."""
    return _encoder.encode({"type": "error"} | _shaped(status, error, reader.provider))


def _shaped(status: int, error: dict[str, Any], provider: str) -> dict[str, Any]:
    """An error where the provider's own SDKs look for it.

    Google's read ``code`` as the number of the status, and ``status`` beside it. Ollama's read ``error`` as the text,
    so that the rest stands under ``leash``. All others get the error as it is.
    """
    if provider == "gemini":
        named = {"code": status, "status": _GOOGLE_STATUSES.get(status, "INVALID_ARGUMENT")}
        return {"error": error | named}
    if provider == "ollama":
        return {"error": error["message"], "leash": error}
    return {"error": error}


def _answer(status: int, body: bytes, code: str, *headers: tuple[bytes, bytes]) -> Answer:
    framing = ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii")))
    return Answer(status, framing + headers, body, code)


def _refused_message(run: str, refusal: shim_pb2.Refused) -> str:
    stopped = refusal.reason in _STOPPING and not refusal.transient and not refusal.payment_required
    subject = f"leash stopped run {run}" if stopped else f"leash refused a call of run {run}"
    message = f"{subject}: {reason_name(refusal.reason)} ({_figures(refusal)})"
    detail = refusal.detail
    return f"{message}. {detail[0].upper()}{detail[1:]}" if detail else message


def _figures(refusal: shim_pb2.Refused) -> str:
    """What was used of what limit, as people read it."""
    used, limit = refusal.used, refusal.limit
    after = f"after {_counted(refusal.calls, 'call')}"
    match refusal.unit:
        case types_pb2.UNIT_NANODOLLARS:
            shown_used, shown_limit = format_dollars_of(used, limit)
            return f"{shown_used} of {shown_limit} {after}"
        case types_pb2.UNIT_CALLS:
            return f"{used:,} of {_counted(limit, 'call')}"
        case types_pb2.UNIT_NANOSECONDS:
            return f"{format_duration(used)} of {format_duration(limit)} {after}"
        case types_pb2.UNIT_TOKENS:
            return f"{used:,} of {_counted(limit, 'token')} {after}"
        case types_pb2.UNIT_REPLIES:
            return f"{used:,} equal replies in a row, limit {limit:,}, {after}"
        case _:
            return after


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _figure(value: int, unit: types_pb2.Unit.ValueType) -> Decimal | float | None:
    """A used or limit figure as a JSON number in the unit that ``_UNIT_NAMES`` gives; None without a unit."""
    if unit == types_pb2.UNIT_NANODOLLARS:
        return dollars_number(value)
    if unit == types_pb2.UNIT_NANOSECONDS:
        return value / NANOSECONDS_PER_SECOND
    return value if unit in _UNIT_NAMES else None
