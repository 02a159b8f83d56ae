"""The keys that sign webhooks: the daemon's own, made once and kept beside the ledger, and those in files of users."""

from __future__ import annotations

import base64
import os
import secrets
from contextlib import suppress
from pathlib import Path

from leash.durable import sync
from leash.reactions import check_secret

_KEY_BYTES = 32  # the specification wants 24 to 64
_MAX_FILE_BYTES = 4_096


class KeyTroubleError(Exception):
    """A key cannot be had now; the message says which and why."""


def own_key_path(ledger: Path) -> Path:
    """Where the daemon of a ledger keeps its key."""
    return ledger.with_name(f"{ledger.name}.webhook-secret")


def own_key(ledger: Path) -> str:
    """The daemon's key, made where there is none. Raises KeyTroubleError."""
    path = own_key_path(ledger)
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise KeyTroubleError(f"the key for webhooks cannot be written to {path}: {error.strerror}") from error
    return read_key(path)


def read_key(path: Path) -> str:
    """The key in a file. Raises KeyTroubleError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe has no writer, perhaps
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            content = file.read(_MAX_FILE_BYTES) or b""
        return check_secret(content.decode())
    except OSError as error:
        raise KeyTroubleError(f"the key for webhooks, {path}, cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeyTroubleError(f"{path} has no key for webhooks: {error}") from error


def _make(path: Path) -> None:
    """Whole and synced before it has its name, and never over another one."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    text = f"whsec_{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}\n"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.rename(path)
        sync(path.parent)
    finally:
        with suppress(FileNotFoundError):  # it has its name by now
            made.unlink()
