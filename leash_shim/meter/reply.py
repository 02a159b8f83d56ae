"""What every format keeps of a reply while it reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from leash_shim.meter import json_text
from leash_shim.meter.fingerprint import Fingerprint
from leash_shim.meter.wire import Metered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.usage import Usage
    from leash_shim.meter.wire import RequestFacts


class ReadReply:
    """A reply that is being read; a format adds ``add``, which takes its values in order.

    ``begun`` says that something of the format came, ``ended`` that its end did, which is only asked of a stream, and
    only where the format marks one (``marks_end``).
    """

    __slots__ = ("begun", "ended", "facts", "failed", "fingerprint", "model", "usage")

    marks_end: ClassVar[bool] = False

    def __init__(self, facts: RequestFacts, *, want_fingerprint: bool) -> None:
        self.facts = facts
        self.fingerprint = Fingerprint() if want_fingerprint else None
        self.usage: Usage | None = None
        self.model = ""
        self.begun = False
        self.ended = False
        self.failed = False

    def skips(self, data: bytes, event: bytes, /) -> bool:
        """Whether a streamed value need not be decoded; a format says where it need not."""
        del data, event
        return False

    def take_model(self, members: Mapping[str, object], key: str = "model") -> None:
        """Keeps the model that an answer names; the last one that is readable stands."""
        self.model = json_text.name(members.get(key)) or self.model

    def metered(self, *, streamed: bool) -> Metered:
        """What it came to."""
        failed = self.failed and self.usage is None
        endless = streamed and self.marks_end and self.begun and not self.ended
        fingerprint = b"" if self.fingerprint is None else self.fingerprint.digest()
        return Metered(self.usage, self.model, fingerprint, broken_off=failed or endless)
