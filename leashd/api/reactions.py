"""Between the wire's messages and the core's records of what is told outside. What comes in is checked here."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from leash.reactions import MAX_HOOK_TIMEOUT_NS, check_command, check_webhook
from leash.v1 import control_pb2, shim_pb2
from leashd.api.convert import InvalidMessageError
from leashd.core.outbox import OutboxKey, Pending
from leashd.core.reactions import DEFAULT_HOOK_TIMEOUT_NS, Reactions
from leashd.reactions.place import place_of

_MAX_PATH_BYTES = 4_096  # Linux's own bound

_REFUSED = (
    "this leashd serves the whole host, and takes webhooks and hooks only from its own configuration, since it would "
    "run them with its own rights: leave --webhook and --on-event-exec out, or use a daemon of your own (--db PATH)"
)


def given_reactions(message: shim_pb2.Reactions, *, refused: bool) -> dict[str, Any]:
    """The fields of ``Reactions`` that a message names. Raises InvalidMessageError."""
    given: dict[str, Any] = {}
    try:
        if message.HasField("webhook"):
            given["webhook"] = check_webhook(message.webhook)
            given["webhook_secret_file"] = _whole_path(message.webhook_secret_file)
        if message.HasField("hook"):
            command = check_command(tuple(message.hook.command))
            given["hook"] = (_whole_path(command[0]), *command[1:]) if command else ()
            given["hook_timeout_ns"] = _timeout_ns(message.hook.timeout_ns)
    except ValueError as error:
        raise InvalidMessageError(str(error)) from error
    if given and refused:
        raise InvalidMessageError(_REFUSED)
    return given


def notice_message(pending: Pending, key: OutboxKey, reactions: Reactions) -> control_pb2.Notice:
    """A notice in the outbox, with where it goes."""
    notice = pending.notice
    return control_pb2.Notice(
        id=notice.id,
        event=notice.kind.label,
        run=notice.run,
        reason=notice.reason,
        at_unix_ns=notice.at_ns,
        target=key.target.label,
        place=place_of(reactions, key.target),
        dead=pending.dead,
        attempts=pending.attempts,
        first_attempt_at_unix_ns=pending.first_attempt_at_ns,
        next_attempt_at_unix_ns=pending.next_attempt_at_ns,
        last_error=pending.last_error,
        given_up_at_unix_ns=pending.given_up_at_ns,
    )


def fits(pending: Pending, wanted: control_pb2.NoticeFilter) -> bool:
    """Whether a notice is one of those that are meant; a run may be named without its tenant."""
    notice = pending.notice
    named = wanted.run in ("", notice.run) or notice.run.endswith(f"/{wanted.run}")
    chosen = not wanted.ids or any(notice.id.startswith(prefix) for prefix in wanted.ids)
    return named and chosen and (pending.dead or not wanted.dead)


def _whole_path(path: str) -> str:
    if not path:
        return path
    if not PurePosixPath(path).is_absolute() or "\0" in path or len(path.encode()) > _MAX_PATH_BYTES:
        raise ValueError(f"{path!r} is no path from / on")
    return path


def _timeout_ns(value: int) -> int:
    if not 0 <= value <= MAX_HOOK_TIMEOUT_NS:
        raise ValueError("a hook's time-out is at most an hour")
    return value or DEFAULT_HOOK_TIMEOUT_NS
