"""Where a notice goes: the place as it is, and as it may be shown. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from leashd.core.reactions import Reactions, Target


def where(reactions: Reactions, target: Target) -> str | tuple[str, ...]:
    """The URL or the command of a way; empty where there is none."""
    return reactions.webhook if target is Target.WEBHOOK else reactions.hook


def place_of(reactions: Reactions, target: Target) -> str:
    """The place without what may be secret in it: a URL's scheme and host, a command's program."""
    if target is Target.HOOK:
        return reactions.hook[0] if reactions.hook else ""
    return shown_url(reactions.webhook)


def shown_url(url: str) -> str:
    """The scheme and the host of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
