"""Every error that the client raises, by who is to blame; foreign errors become these once, at the edge.

The names are sentences in the caller's code (``except NotFound``), so they go without the suffix ``Error``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leash.v1 import shim_pb2


class ClientError(Exception):
    """Whatever the client raises on purpose; its text is a sentence for the person who typed the command."""


class ControlError(ClientError):
    """A request to the daemon that was not carried out."""


class NotFound(ControlError):  # noqa: N818
    """There is no such run or call."""


class Refused(ControlError):  # noqa: N818
    """The daemon understood the request and declines it; the text says what would be accepted."""


class AccessDenied(ControlError):  # noqa: N818
    """The user may not open the daemon's socket, or its directory cannot be trusted."""


class DaemonUnreachable(ControlError):  # noqa: N818
    """No daemon answers at the endpoint."""


class DaemonError(DaemonUnreachable):
    """The daemon could not be started; the text says what to do and ends with the last lines of its log."""


class DaemonUnavailable(ClientError):  # noqa: N818
    """The operation was not decided in time and has no effect: the call must not be forwarded."""


class SessionFailure(ClientError):  # noqa: N818
    """The daemon answered an operation of a shim session with a failure."""

    def __init__(self, code: shim_pb2.FailureCode.ValueType, message: str) -> None:
        """Keep the wire's code and its sentence."""
        super().__init__(message)
        self.code = code
        self.message = message
