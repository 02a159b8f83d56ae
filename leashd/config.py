"""The daemon's configuration file: TOML, read whole or refused. Every mistake in it is named with its line.

What is not in the file has its built-in value; a flag or a ``LEASH_`` variable wins over it, which is for the command
line to see to.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from leash.governance import PARSERS, Governance
from leash.prices import PriceError
from leash.units import parse_duration
from leashd.api.convert import given_limits
from leashd.core.limits import FLAGS, Given, first_limits
from leashd.core.reactions import Reactions
from leashd.logs import FORMATS, LEVELS
from leashd.operations import StorePrices
from leashd.pricing import read_prices
from leashd.reactions import table as reactions_table

SYSTEM_CONFIG = Path("/etc/leash/leashd.toml")

MAX_CONFIG_BYTES = 1024 * 1024  # a file of a few lines; more is another file
MAX_PRICES_BYTES = 16 * 1024 * 1024  # as much as a client may bring


class ConfigError(Exception):
    """The file cannot be used; each problem is a sentence that names the place and says what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the file says; None, and nothing, for what it does not.

    ``limits`` are for runs whose opener gives none, ``prices`` is the table for runs whose opener has none,
    ``retention_ns`` is how long after its last entry a finished run keeps its entries, zero for ever, and ``reactions``
    is where the notices of runs go whose opener says nothing of it.
    """

    path: Path | None = None
    ledger: Path | None = None
    socket: Path | None = None
    control_socket: Path | None = None
    group: str | None = None
    admin_group: str | None = None
    log_level: str | None = None
    log_format: str | None = None
    limits: Given = field(default_factory=dict)
    prices: Path | None = None
    prices_table: StorePrices | None = field(default=None, repr=False)
    retention_ns: int = 0
    reactions: Reactions = field(default_factory=Reactions)


NEED_RESTART = ("ledger", "socket", "control_socket", "group", "admin_group", "log_format")
"""Settings that a running daemon keeps until it is restarted."""

Reader = Callable[[Any], Any]


def read_config(path: Path) -> Config:
    """Reads a configuration file, and the price table that it names. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}"]) from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError([f"{path} has more than {MAX_CONFIG_BYTES} bytes: it is no configuration of leashd"])
    try:
        text = raw.decode()
        document = tomllib.loads(text, parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is not UTF-8"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path} is nested too deeply"]) from error
    except ValueError as error:  # what tomllib raises is one, and so is a number of thousands of digits
        raise ConfigError([f"{path} is not TOML: {error}"]) from error
    return _Reading(path, text).config(document)


class _Reading:
    """One file being read: what it gives, and what is wrong with it."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._problems: list[str] = []

    def config(self, document: dict[str, Any]) -> Config:
        """The configuration. Raises ConfigError with every problem."""
        tables = {name: document.pop(name) for name in _TABLES if name in document}
        values = self._read(document, _TOP, table="")
        for name, content in tables.items():
            if not isinstance(content, dict):
                self._problem("", name, f"{name} is a table: write its keys below a line [{name}]")
            elif name == "limits":
                values["limits"] = self._limits(content)
            elif name == "reactions":
                values["reactions"] = self._reactions(content)
            else:
                values |= self._read(content, _TABLES[name], table=name)
        if "prices" in values:
            values["prices_table"] = self._price_table(values["prices"])
        if self._problems:
            raise ConfigError(self._problems)
        return Config(path=self._path, **values)

    def _read(self, content: Mapping[str, Any], readers: Mapping[str, tuple[str, Reader]], *, table: str) -> Any:
        values: dict[str, Any] = {}
        for key, value in content.items():
            if key not in readers:
                self._unknown(table, key, readers)
                continue
            name, read = readers[key]
            try:
                values[name] = read(value)
            except ValueError as error:
                self._problem(table, key, f"{_dotted(table, key)}: {error}")
        return values

    def _limits(self, content: Mapping[str, Any]) -> Given:
        read = self._read(content, _LIMITS, table="limits")
        try:
            given = given_limits(Governance(**read).to_wire())
            first_limits(given, {"deadline_ns": 1})  # openers have a deadline of their own
        except ValueError as error:
            self._problem("", "limits", f"limits: {_named_as_here(str(error))}")
            return {}
        return given

    def _reactions(self, content: Mapping[str, Any]) -> Reactions:
        try:
            if content and (reason := reactions_table.distrust(self._path)):
                self._problem("", "reactions", f"reactions: {reason}")
        except OSError as error:
            self._problem("", "reactions", f"reactions: {self._path} cannot be looked at: {error.strerror}")
        return Reactions(**self._read(content, reactions_table.READERS, table="reactions"))

    def _price_table(self, path: Path) -> StorePrices | None:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_PRICES_BYTES + 1)
            if len(text) <= MAX_PRICES_BYTES:
                return read_prices(text)
            self._problem("", "prices", f"prices: {path} has more than 16 MiB")
        except OSError as error:
            self._problem("", "prices", f"prices: {path} cannot be read: {error.strerror}")
        except PriceError as error:
            self._problem("", "prices", f"prices: {path} is no price table: {error}")
        return None

    def _unknown(self, table: str, key: str, readers: Mapping[str, Any]) -> None:
        known = [*readers, *(_TABLES if not table else ())]
        elsewhere = _TABLES if not table else {"": _TOP}
        home = next((name for name, keys in elsewhere.items() if key in keys), None)
        if home is not None:
            where = f"below a line [{home}]" if home else "above the first line in brackets"
            advice = f"it stands {where}"
        elif close := difflib.get_close_matches(key.replace("-", "_").lower(), known, n=1):
            advice = f"did you mean {close[0]}?"
        else:
            advice = f"known here: {', '.join(sorted(known))}"
        self._problem(table, key, f"unknown key {_dotted(table, key)}: {advice}")

    def _problem(self, table: str, key: str, what: str) -> None:
        line = _line_of(self._text, table, key)
        self._problems.append(f"{self._path}:{line}: {what}" if line else f"{self._path}: {what}")


def _line_of(text: str, table: str, key: str) -> int:
    """The line on which a key, or a table, is written; 0 where it is written in a way that this does not see."""
    wanted = re.compile(rf"""\s*(?P<quote>["']?){re.escape(key)}(?P=quote)\s*[.=]""")
    dotted = re.compile(rf"\s*{re.escape(table)}\s*\.\s*{re.escape(key)}\s*=")
    header = re.compile(r"""\s*\[+\s*["']?([^\]"'.]+?)["']?\s*[\].]""")
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := header.match(line):
            current = found[1]
            if not table and current == key:
                return number
        elif (current == table and wanted.match(line)) or (table and not current and dotted.match(line)):
            return number
    return 0


def _dotted(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _named_as_here(message: str) -> str:
    """A message about limits with the names that they have in the file instead of a command line's."""
    for flag in sorted(set(FLAGS.values()), key=len, reverse=True):
        message = message.replace(flag, flag.removeprefix("--").replace("-", "_"))
    return message


def _path(value: Any) -> Path:
    try:
        path = Path(_text(value)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value!r} is in the home of a user who has none: write it from / on") from error
    if not path.is_absolute():
        raise ValueError(f"{value!r} is no whole path: write it from / or from ~/ on")
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("write it as a text in quotes")
    return value


def _one_of(choices: tuple[str, ...]) -> Reader:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        chosen: str = value
        return chosen

    return read


def _scalar(parse: Callable[[str], Any], example: str) -> Reader:
    """Reads a number, a text or a switch by what reads the flag of the same name."""

    def read(value: Any) -> Any:
        if isinstance(value, bool):
            return parse("true" if value else "false")
        if isinstance(value, int | Decimal | str):
            return parse(str(value))
        raise ValueError(f"write it as {example}")

    return read


_EXAMPLES = {
    "max_cost": "5.00", "max_calls": "100", "deadline": '"30m"', "rate": '"100000/1m"', "stall": "5",
    "compute_rate": "0.50", "max_cost_per_call": "1.00", "warn_at": "0.8", "on_blind": '"refuse"', "strict": "true",
    "observe": "true", "hold_wait": '"30s"',
}  # fmt: skip

_TOP: Mapping[str, tuple[str, Reader]] = {
    "ledger": ("ledger", _path),
    "socket": ("socket", _path),
    "control_socket": ("control_socket", _path),
    "group": ("group", _text),
    "admin_group": ("admin_group", _text),
    "log_level": ("log_level", _one_of(LEVELS)),
    "log_format": ("log_format", _one_of(FORMATS)),
    "prices": ("prices", _path),
}

_LIMITS: Mapping[str, tuple[str, Reader]] = {
    limit.name: (limit.name, _scalar(PARSERS[limit.name.replace("_", "-")], _EXAMPLES[limit.name]))
    for limit in fields(Governance)
}

_RETENTION: Mapping[str, tuple[str, Reader]] = {"finished": ("retention_ns", _scalar(parse_duration, '"90d"'))}

_TABLES: Mapping[str, Mapping[str, tuple[str, Reader]]] = {
    "limits": _LIMITS,
    "retention": _RETENTION,
    "reactions": reactions_table.READERS,
}
