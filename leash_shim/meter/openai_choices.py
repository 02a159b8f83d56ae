"""What OpenAI's chat and text completions have in common: replies of choices, as JSON and as event streams.

The rule: what is read follows the answer's content type, never the request or the model's name. The last readable
usage wins: OpenAI sends one, in a stream's last chunk, other vendors a running one in every chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from leash_shim.meter import json_text, splice
from leash_shim.meter.bodies import DONE
from leash_shim.meter.fingerprint import MAX_CHOICES
from leash_shim.meter.json_text import elements, mapping
from leash_shim.meter.openai_usage import read_usage
from leash_shim.meter.reply import ReadReply
from leash_shim.meter.usage_filter import UsageChunkFilter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash_shim.meter.fingerprint import Fingerprint
    from leash_shim.meter.wire import Prepared, VisibleFilter


class ChoicesFormat:
    """What both formats do with a stream's usage, which is only on the wire where the request asks for it."""

    tells_failure = False

    def prepare(self, body: bytes, *, inject: bool) -> Prepared:
        """The body with ``stream_options.include_usage`` spliced in, where a stream would come without usage."""
        return splice.prepare(body, inject=inject)

    def visible_filter(self) -> VisibleFilter | None:
        """A filter that hides what the spliced option adds to a stream."""
        return UsageChunkFilter()


class ChoicesReply(ReadReply, ABC):
    """One reply, from one JSON body or from chunks, which have nearly the same shape.

    A stream ends with a choice's reason to finish, with a chunk of its own for the usage, or with OpenAI's last word;
    which of them comes differs between vendors.
    """

    __slots__ = ()

    marks_end: ClassVar[bool] = True

    def skips(self, data: bytes, event: bytes, /) -> bool:
        """Whether a chunk is of no interest: it has no usage and goes on, and neither text nor model are wanted."""
        wanted = self.fingerprint is not None or not (self.model and self.begun) or event == b"error"
        goes_on = b'"finish_reason":null' in data or b'"finish_reason": null' in data
        return not wanted and goes_on and b'"usage"' not in data and b'"error"' not in data

    def add(self, value: object, event: bytes, /) -> None:
        """Reads a completion or a chunk."""
        members = mapping(value)
        choices = [mapping(choice) for choice in elements(members.get("choices"))]
        self.take_model(members)
        self.begun = self.begun or "choices" in members
        self.ended = self.ended or value == DONE or any(choice.get("finish_reason") for choice in choices)
        # An error within a stream may come with numbers, which are not what was billed.
        if event == b"error" or members.get("error"):
            self.failed = True
        elif self._take_usage(members) and not choices:
            self.ended = True
        if self.fingerprint is None:
            return
        for position, choice in enumerate(choices):
            index = json_text.count(choice.get("index", position))
            if index is not None and index < MAX_CHOICES:
                self.add_choice(self.fingerprint, index, choice)

    @abstractmethod
    def add_choice(self, fingerprint: Fingerprint, index: int, choice: Mapping[str, object]) -> None:
        """Reads what a choice, or a piece of it, says and does."""

    def _take_usage(self, members: Mapping[str, object]) -> bool:
        """Keeps the usage where there is one. Zeros, which some vendors send in every other chunk, undo none."""
        # Groq reports in a member of its own as well.
        for block in (members.get("usage"), mapping(members.get("x_groq")).get("usage")):
            usage = read_usage(block, service_tier=members.get("service_tier"), facts=self.facts)
            if usage is not None:
                if self.usage is None or usage.total_tokens:
                    self.usage = usage
                return True
        return False
