"""The table ``[reactions]`` of a daemon's configuration: what stands for every run, and who may have written it.

The rule: a daemon runs hooks and sends webhooks with its own rights, so they are taken only from a file that nobody but
root or the daemon's own user can write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from leash.reactions import check_command, check_webhook, parse_command, parse_hook_timeout


def _webhook(value: Any) -> str:
    url = check_webhook(_text(value))
    if not url:
        raise ValueError("write it as https://HOST/PATH, or leave it out")
    return url


def _file(value: Any) -> str:
    path = _text(value)
    if not Path(path).is_absolute():
        raise ValueError(f"{path!r} is no whole path: write it from / on")
    return path


def _command(value: Any) -> tuple[str, ...]:
    """A text is split into words as a shell would; a list of texts is taken as it is."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = check_command(tuple(value))
    else:
        words = parse_command(_text(value))
    if not words or not Path(words[0]).is_absolute():
        raise ValueError('write it as "/path/of/a/program argument", from / on')
    return words


def _timeout(value: Any) -> int:
    return parse_hook_timeout(_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("write it as a text in quotes")
    return value


READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "webhook": ("webhook", _webhook),
    "webhook_secret_file": ("webhook_secret_file", _file),
    "on_event_exec": ("hook", _command),
    "hook_timeout": ("hook_timeout_ns", _timeout),
}
"""Each key of the table: the field of ``Reactions`` that it is for, and what reads it or raises ValueError."""


def distrust(path: Path) -> str:
    """Why a file's hooks and webhooks are not taken; empty where they are. Raises OSError."""
    for place in (path.resolve(), path.resolve().parent):
        status = place.stat()
        if status.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to uid {status.st_uid}: it has to be root's, since its hooks run as leashd"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
            return f"{place} can be written by others, and its hooks run as leashd: chmod go-w {place}"
    return ""
