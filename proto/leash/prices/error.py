"""The one error of price tables."""

from __future__ import annotations

# An error shows this much of a name, so that a damaged file does not fill the terminal.
_SHOWN_CHARACTERS = 80


class PriceError(ValueError):
    """A price table that cannot be used, in a sentence that names the model and the key."""


def quoted(name: str) -> str:
    """A name from a table, as an error shows it: quoted, escaped and not too long."""
    shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…"
    escaped = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in shown)
    return f'"{escaped}"'
