"""What is to be told outside of a run, as a person gives it: a webhook, a command, and how each is checked.

A client checks before it asks, and the daemon checks what it is asked.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from leash.units import parse_duration

if TYPE_CHECKING:
    from leash.v1 import shim_pb2

# What a URL is cut to by much of what it passes through; the ledger keeps it for each run.
MAX_URL_CHARACTERS = 2_000
# A command is a program and some words; what is longer is a script of its own.
MAX_COMMAND_BYTES = 4_096
# A notification that takes longer than an hour is none.
MAX_HOOK_TIMEOUT_NS = 3_600 * 10**9

_SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix)
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64  # Standard Webhooks, "Signature scheme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactions:
    """What the opener of a run gives, each None where it is not given; an empty one turns it off.

    ``hook`` is a command in words, the first of them a path from the root on. The time-out is in nanoseconds.
    """

    webhook: str | None = None
    webhook_secret_file: str = ""
    hook: tuple[str, ...] | None = None
    hook_timeout: int = 0

    def is_empty(self) -> bool:
        """Whether nothing is given."""
        return self.webhook is None and self.hook is None

    def to_wire(self) -> shim_pb2.Reactions | None:
        """The message of these; None where nothing is given."""
        from leash.v1 import shim_pb2  # noqa: PLC0415 (a program is started before protobuf is needed)

        if self.is_empty():
            return None
        hook = None if self.hook is None else shim_pb2.Hook(command=self.hook, timeout_ns=self.hook_timeout)
        return shim_pb2.Reactions(webhook=self.webhook, webhook_secret_file=self.webhook_secret_file, hook=hook)


def check_webhook(url: str) -> str:
    """The URL of a webhook; an empty one is none. Raises ``ValueError``."""
    if not url:
        return url
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"a webhook's URL has at most {MAX_URL_CHARACTERS} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a webhook's URL is written in plain letters: encode the others with %")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no webhook: write it as https://HOST/PATH")
    _ = parts.port  # raises ValueError for one that is none
    if parts.username is not None or parts.password is not None:
        raise ValueError("a webhook's URL takes no user and password: its receiver checks the signature instead")
    return url


def check_secret(text: str) -> str:
    """A key that signs webhooks, as Standard Webhooks writes it. Raises ``ValueError``, which never shows the key."""
    key = text.strip()
    try:
        # As the library reads it that signs: it takes none whose padding is missing.
        size = len(base64.b64decode(key.removeprefix(_SECRET_PREFIX), validate=False))
    except (binascii.Error, ValueError):
        size = 0
    if not _MIN_SECRET_BYTES <= size <= _MAX_SECRET_BYTES:
        raise ValueError(
            f"a key is {_SECRET_PREFIX} and {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} random bytes in base64: "
            "`(printf whsec_; openssl rand -base64 32)` makes one"
        )
    return key


def parse_command(text: str) -> tuple[str, ...]:
    """The words of a command, split as a shell would, which runs none of it. Raises ``ValueError``."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no command: {error}") from error
    return check_command(words)


def parse_hook_timeout(text: str) -> int:
    """The nanoseconds that a hook may take, from a duration such as ``30s``. Raises ``ValueError``."""
    duration_ns = parse_duration(text)
    if not 0 < duration_ns <= MAX_HOOK_TIMEOUT_NS:
        raise ValueError("a hook's time-out is above zero, and at most an hour")
    return duration_ns


def check_command(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command in words; none is no command. Raises ``ValueError``."""
    if sum(len(word.encode()) + 1 for word in words) > MAX_COMMAND_BYTES:
        raise ValueError(f"a command has at most {MAX_COMMAND_BYTES} bytes: put it into a script")
    if any("\0" in word for word in words) or (words and not words[0]):
        raise ValueError("a command begins with a program, and has no NUL in it")
    return words
