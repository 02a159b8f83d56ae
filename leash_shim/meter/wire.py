"""The seam between the shim and the wire formats: what a format can do, and the records that pass.

The rule: a format is one object that implements ``WireFormat``; nothing outside it knows its fields. Everything here
is sans-I/O, takes bytes split anywhere, and never raises, whatever a client or a provider sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from leash.usage import Usage


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a format reads it: its raw path without the query, its Content-Type, and its body.

    The body has no content encoding.
    """

    body: bytes
    path: str = ""
    content_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a request says about the call that it opens; every bound is an upper one, in tokens.

    ``input_bound_tokens`` is None where the prompt is not wholly inline text, and ``output_bound_tokens`` where the
    request sets no maximum. ``choices`` is how many answers are generated, ``prompts`` how many prompts there are,
    each of which may fill the context. ``server_tools``: the request offers something that the provider runs or bills
    beside the tokens; ``web_search``: its own web search is one of them; ``other_tools``: one that bills by the
    request, and that no price table can name. ``unmeterable`` says why this request, unlike others of its endpoint,
    will have no usage on the wire; empty where it will. A body that cannot be read has an empty model and no bounds.
    """

    model: str = ""
    stream: bool = False
    input_bound_tokens: int | None = None
    output_bound_tokens: int | None = None
    choices: int = 1
    prompts: int = 1
    server_tools: bool = False
    web_search: bool = False
    other_tools: bool = False
    service_tier: str = ""
    unmeterable: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The body to send, and whether the answer then has a usage chunk that the client did not ask for."""

    body: bytes
    hides_usage_chunk: bool


@dataclass(frozen=True, slots=True)
class Metered:
    """What an answer came to.

    ``usage`` is None where none was readable; ``model`` is as the answer names it, or empty; ``fingerprint`` has
    eight bytes, or none where the reply has neither text nor a tool call. ``broken_off``: the answer tells an error
    where its usage should stand, or has no end though its format marks one, so that ``usage`` is the least that it
    came to.
    """

    usage: Usage | None = None
    model: str = ""
    fingerprint: bytes = b""
    broken_off: bool = False


class Meter(Protocol):
    """Reads the usage of one answer."""

    def feed(self, data: bytes, /) -> None:
        """Takes the next bytes of the body, without any content encoding."""
        ...

    def peek(self) -> Usage | None:
        """What the wire has reported so far, for a call that is cut."""
        ...

    def finish(self) -> Metered:
        """What the answer came to, once its body has ended. Asking again gives the same."""
        ...


class VisibleFilter(Protocol):
    """Takes what leash itself asked for out of what the client sees."""

    def feed(self, data: bytes, /) -> bytes:
        """The bytes that the client may see now."""
        ...

    def finish(self) -> bytes:
        """What was still held back when the body ended."""
        ...


class WireFormat(Protocol):
    """One wire format: its requests, its answers and what is spliced between them."""

    @property
    def name(self) -> str:
        """The name in the contract with the daemon, such as ``openai_chat``."""
        ...

    @property
    def tells_failure(self) -> bool:
        """Whether its clients take a stream that just ends for a fault of the network, unless an event says more."""
        ...

    def read_request(self, asked: Asked) -> RequestFacts:
        """The facts of a request."""
        ...

    def prepare(self, body: bytes, *, inject: bool) -> Prepared:
        """The body to send upstream. With ``inject`` it asks for the usage where a stream would leave it out."""
        ...

    def meter(self, *, content_type: str, facts: RequestFacts, want_fingerprint: bool = True) -> Meter:
        """A meter for an answer of this content type, whatever the request asked for.

        Without ``want_fingerprint`` most of a stream need not be decoded, and the fingerprint stays empty.
        """
        ...

    def visible_filter(self) -> VisibleFilter | None:
        """A filter for the event stream that answers a request whose ``Prepared.hides_usage_chunk`` is true."""
        ...
