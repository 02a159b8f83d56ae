"""The price table of a run: where it is looked for, and that it can be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.prices import PriceTable

SYSTEM_FILE = Path("/etc/leash/prices.json")

# The contract's bound on a table; LiteLLM's whole one has about 1.5 MB.
MAX_BYTES = 16 * 1024 * 1024


class PriceFileError(ValueError):
    """A price file that cannot be used; the message begins with its path."""


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A price table as its file has it, and as it was read."""

    path: Path
    text: bytes
    table: PriceTable

    @classmethod
    def read(cls, path: Path) -> PriceFile:
        """Reads and checks a file. Raises ``PriceFileError``."""
        from leash.prices import PriceError, parse_table  # noqa: PLC0415 (most runs have no file)

        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise PriceFileError(f"{path}: {error.strerror}") from error
        if len(text) > MAX_BYTES:
            raise PriceFileError(f"{path}: is larger than {MAX_BYTES >> 20} MiB")
        try:
            return cls(path, text, parse_table(text))
        except PriceError as error:
            raise PriceFileError(f"{path}: {error}") from error


def user_file(environ: Mapping[str, str]) -> Path:
    """Where the prices of this user are: ``leash/prices.json`` in the XDG configuration directory."""
    configuration = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(configuration):  # noqa: PTH117 (the XDG rule: a relative value is ignored)
        return Path(configuration) / "leash" / "prices.json"
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".config" / "leash" / "prices.json"


def standing_file(environ: Mapping[str, str]) -> Path | None:
    """The price file that stands where one is looked for, the user's before the host's; None where there is none."""
    return next((path for path in (user_file(environ), SYSTEM_FILE) if path.exists()), None)
