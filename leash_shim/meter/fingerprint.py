"""The fingerprint of a reply: equal for replies that say and do the same.

The rule: what counts is the assistant's text and its tool calls (name and arguments), since a stuck agent often
repeats a tool call with no text. What differs between two tellings of the same reply does not count: how a stream cut
it, ids, the order and spacing of JSON arguments, and runs of white space, which models vary most. Text is not
normalised to NFC: one model writes one form, and NFC cannot be computed piece by piece without keeping the text.
Hidden reasoning does not count either: an agent that thinks something else and then does the same is still stuck.
"""

from __future__ import annotations

from hashlib import blake2b

from leash_shim.meter import json_text

# Only the first choices and the first tool calls of each count: the most that OpenAI takes and makes.
MAX_CHOICES = 128
MAX_CALLS = 128

# Arguments have to be kept whole to be put in order, so that they alone can grow. A megabyte is beyond what a model
# writes in one reply; where a reply has more, all its arguments are hashed as they were written.
MAX_ARGUMENTS_CHARACTERS = 1 << 20

_DIGEST_BYTES = 8

# UTF-16 lets a stream cut an emoji into its two surrogates: the pieces encode to the bytes of the whole.
_ENCODING = "utf-16-le"


class _Text:
    """A running hash over text whose white space is collapsed. An empty ``digest`` stands for no text."""

    __slots__ = ("_hash", "_space")

    def __init__(self) -> None:
        self._hash: blake2b | None = None
        self._space = False

    def add(self, text: str) -> None:
        words = text.split()
        if not words:
            self._space = self._space or bool(text)
            return
        joined = " ".join(words)
        if self._hash is None:
            self._hash = blake2b(digest_size=_DIGEST_BYTES)
        elif self._space or text[0].isspace():
            joined = " " + joined
        self._space = text[-1].isspace()
        self._hash.update(joined.encode(_ENCODING, "surrogatepass"))

    def digest(self) -> bytes:
        return b"" if self._hash is None else self._hash.digest()


class _Call:
    """One tool call, whose arguments are kept until ``flatten`` turns them into a running hash."""

    __slots__ = ("_hash", "_pieces", "name")

    def __init__(self) -> None:
        self.name = ""
        self._pieces: list[str] = []
        self._hash: blake2b | None = None

    def add(self, arguments: str) -> None:
        if self._hash is None:
            self._pieces.append(arguments)
        else:
            self._hash.update(arguments.encode(_ENCODING, "surrogatepass"))

    def flatten(self) -> None:
        if self._hash is None:
            self._hash = _hashed("".join(self._pieces))
            self._pieces.clear()

    def digest(self) -> bytes:
        if self._hash is not None:
            return self._hash.digest()
        arguments = "".join(self._pieces)
        return _hashed(_canonical(arguments)).digest()


class Fingerprint:
    """Takes a reply in pieces, in any order across its choices and calls."""

    __slots__ = ("_arguments_characters", "_calls", "_texts")

    def __init__(self) -> None:
        self._texts: dict[tuple[int, str], _Text] = {}
        self._calls: dict[tuple[int, int], _Call] = {}
        self._arguments_characters = 0

    def add_text(self, choice: int, kind: str, text: str) -> None:
        """The next piece of one kind of text: ``content``, ``refusal`` or another word of the format."""
        if not 0 <= choice < MAX_CHOICES:
            return
        running = self._texts.get((choice, kind))
        if running is None:
            running = self._texts[choice, kind] = _Text()
        running.add(text)

    def add_call(self, choice: int, call: int, *, name: str = "", arguments: str = "") -> None:
        """The next piece of a tool call's name and arguments. A name that is only repeated is not added again."""
        if not (0 <= choice < MAX_CHOICES and 0 <= call < MAX_CALLS):
            return
        running = self._calls.get((choice, call))
        if running is None:
            running = self._calls[choice, call] = _Call()
        if name and name != running.name:
            # A name is written whole in practice; what is beyond this length cannot be one.
            running.name = (running.name + name)[:256]
        if not arguments:
            return
        if self._arguments_characters > MAX_ARGUMENTS_CHARACTERS:
            running.flatten()
        running.add(arguments)
        before = self._arguments_characters
        self._arguments_characters += len(arguments)
        if before <= MAX_ARGUMENTS_CHARACTERS < self._arguments_characters:
            for each in self._calls.values():
                each.flatten()

    def add_json_call(self, choice: int, call: int, name: object, arguments: object) -> None:
        """The same with a name and arguments as JSON has them: a piece of text, or the whole value itself."""
        if arguments is not None and not isinstance(arguments, str):
            arguments = json_text.canonical(arguments)
        self.add_call(choice, call, name=json_text.text(name), arguments=arguments or "")

    def digest(self) -> bytes:
        """Eight bytes, or none for a reply with neither text nor a tool call."""
        parts = [
            b"%d %s %s" % (choice, kind.encode(), digest)
            for (choice, kind), text in sorted(self._texts.items())
            if (digest := text.digest())
        ]
        parts += [
            b"%d call %d %s %s" % (choice, call, _hashed(running.name).digest(), running.digest())
            for (choice, call), running in sorted(self._calls.items())
        ]
        if not parts:
            return b""
        whole = blake2b(digest_size=_DIGEST_BYTES)
        for part in parts:
            # The length keeps two parts from reading as one.
            whole.update(len(part).to_bytes(4, "little") + part)
        return whole.digest()


def _hashed(text: str) -> blake2b:
    return blake2b(text.encode(_ENCODING, "surrogatepass"), digest_size=_DIGEST_BYTES)


def _canonical(arguments: str) -> str:
    """Arguments in JSON with sorted keys and no white space; other arguments with collapsed white space.

    A call without arguments has an empty object in one telling, and nothing in another.
    """
    value = json_text.parse(arguments.encode("utf-8", "surrogatepass"))
    if value == {}:
        return ""
    collapsed = " ".join(arguments.split())
    return collapsed if value is None else json_text.canonical(value) or collapsed
