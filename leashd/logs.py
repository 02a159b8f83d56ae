"""Structured lines on stderr, for people or as JSON, or records in the journal. Never a key, a header or a body."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from leashd.journal import Journal, is_stderr_the_journal

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json", "journal")

# What syslog calls the levels.
_PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}

_threshold = logging.INFO


def configure(*, level: str, log_format: str | None) -> None:
    """Sends every log line of the process to stderr; without a format, to the journal where that is stderr."""
    if log_format is None:
        log_format = "journal" if is_stderr_the_journal() else "text"
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level, _above_threshold]
    if log_format == "journal":
        processors += [structlog.processors.format_exc_info, _JournalRenderer()]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if log_format == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ]
    set_level(level)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),  # the level may change, a logger is kept
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def set_level(level: str) -> None:
    """Logs from this level on, from now on."""
    global _threshold  # noqa: PLW0603 - there is one log in a process
    _threshold = logging.getLevelNamesMapping()[level.upper()]


def _above_threshold(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if logging.getLevelNamesMapping()[event["level"].upper()] < _threshold:
        raise structlog.DropEvent
    return event


class _JournalRenderer:
    """Writes each event to the journal, one field for each of its values; to stderr where the journal takes none."""

    def __init__(self) -> None:
        self._journal = Journal()

    def __call__(self, _logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
        level = event.pop("level")
        message = _sentence(event)
        if self._journal.send(journal_fields(event, level=level, message=message)):
            raise structlog.DropEvent
        line = f"<{_PRIORITIES[level]}>{message}"
        if self._journal.say(f"{line}\n"):
            raise structlog.DropEvent
        return line


def journal_fields(event: structlog.typing.EventDict, *, level: str, message: str) -> list[tuple[str, str]]:
    """The journal's fields of one event. A run of a tenant is found by its whole name, and by its own."""
    fields = [
        ("MESSAGE", message),
        ("PRIORITY", _PRIORITIES[level]),
        ("SYSLOG_IDENTIFIER", "leashd"),
        ("LEASH_EVENT", str(event["event"])),
    ]
    for key, value in event.items():
        if key == "event" or value is None:
            continue
        fields.append((f"LEASH_{key.upper()}", str(value)))
        if key == "run" and "/" in str(value):
            fields.append(("LEASH_RUN", str(value).partition("/")[2]))
    return fields


def _sentence(event: structlog.typing.EventDict) -> str:
    """One event on one line, and what was raised with it below."""
    values = [f"{key}={_quoted(value)}" for key, value in event.items() if key not in ("event", "exception")]
    line = " ".join([str(event["event"]), *values])
    return f"{line}\n{event['exception']}" if event.get("exception") else line


def _quoted(value: Any) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text
