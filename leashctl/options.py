"""The flags that commands share: limits, the shim, the log, and which daemon is meant.

Each reads ``LEASH_`` and its name as well; the flag wins, and a malformed value is a usage error that names whichever
of the two it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from leash.governance import BLIND_POLICIES, Governance, parse_count
from leash.names import check_run_name
from leash.units import parse_dollars, parse_duration, parse_fraction, parse_rate
from leashctl.completing import complete_file, complete_runs
from leashctl.failure import Failure

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from leash.client.paths import Endpoint

# Where a command's context keeps which daemon was named.
_NAMED = "leashctl.daemon"
# And where each value came from.
_SOURCE = "leashctl.source"

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])

# The limits of a new run for which nothing else is said.
DEFAULTS = Governance(
    max_cost=parse_dollars("5.00"),
    max_calls=100,
    deadline=parse_duration("30m"),
    warn_at=parse_fraction("0.8"),
    on_blind="refuse",
    hold_wait=parse_duration("30s"),
)

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

# What an SDK would send at most, and how long it would wait; the same as the shim's own defaults, which are not
# imported here for the sake of start-up time.
DEFAULT_MAX_BODY_BYTES = 64 << 20
DEFAULT_HEADER_TIMEOUT = "10m"


def parse_positive(text: str) -> int:
    """A whole number from one on. Raises ``ValueError``."""
    if parse_count(text) == 0:
        raise ValueError(f"{text!r} must be above zero")
    return int(text)


class Parsed(click.ParamType[_T]):
    """A value read by a function that raises ``ValueError`` with a sentence for the person."""

    def __init__(self, name: str, parse: Callable[[str], _T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> _T:
        """Reads a text; what is no text was read already."""
        if not isinstance(value, str):
            parsed: _T = value
            return parsed
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _RunName(Parsed[str]):
    """The name of a run, which the shell completes from those that the daemon has."""

    def __init__(self) -> None:
        super().__init__("run", check_run_name)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so."""
        return complete_runs(ctx, param, incomplete)


class Flag(click.Option):
    """An option that also reads ``LEASH_`` and its name, and whose errors name where the value came from."""

    def __init__(self, declarations: list[str], **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        if attributes.get("envvar") is None and self.name:
            self.envvar = f"LEASH_{self.name.upper()}"

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Finds the value, and keeps where it came from for an error in it; click itself keeps that only afterwards."""
        value, source = super().consume_value(ctx, opts)
        ctx.meta[f"{_SOURCE}.{self.name}"] = source
        return value, source

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The flag, or the variable where the value is from there."""
        source = ctx.meta.get(f"{_SOURCE}.{self.name}") if ctx else None
        return f"'{self.envvar if source is ParameterSource.ENVIRONMENT else self.opts[0]}'"


class BareFlag(Flag):
    """The same without a variable, for what is said on purpose each time."""

    def __init__(self, declarations: list[str], **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.envvar = None


DOLLARS = Parsed("dollars", parse_dollars)
DURATION = Parsed("duration", parse_duration)
COUNT = Parsed("count", parse_count)
RUN = _RunName()

# What each limit is for; what a new run has where it is not given stands in DEFAULTS.
_LIMITS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--max-cost", {"type": DOLLARS, "help": "Budget in dollars: tokens, tools, compute.", "shown": "5.00"}),
    ("--max-calls", {"type": COUNT, "help": "Calls, then a stop.", "shown": "100"}),
    ("--deadline", {"type": DURATION, "help": "Wall clock since the first call.", "shown": "30m"}),
    ("--rate", {"type": Parsed("tokens/window", parse_rate), "help": "Tokens in a window, such as 100000/1m."}),
    ("--stall", {"type": COUNT, "help": "Stop after so many equal replies in a row."}),
    ("--compute-rate", {"type": DOLLARS, "help": "Dollars per hour that the run is open."}),
    ("--max-cost-per-call", {"type": DOLLARS, "help": "A call that costs more stops the run."}),
    (
        "--warn-at",
        {"type": Parsed("fraction", parse_fraction), "help": "Warn once at this part of a budget.", "shown": "0.8"},
    ),
    (
        "--on-blind",
        {
            "type": click.Choice(BLIND_POLICIES),
            "help": "What to do about a call that cannot be metered or priced.",
            "shown": "refuse",
        },
    ),
    ("--strict/--no-strict", {"default": None, "help": "Hold the most that each call can cost: no overshoot at all."}),
    ("--observe/--no-observe", {"default": None, "help": "Record what would stop the run, and never stop it."}),
    ("--hold-wait", {"type": DURATION, "help": "How long a call waits for room.", "shown": "30s"}),
)


def limit_options(command: _Command) -> _Command:
    """Adds the limits of a run that is opened."""
    for declaration, attributes in reversed(_LIMITS):
        shown = attributes.get("shown")
        text = f"{attributes['help']}  [default: {shown}]" if shown else attributes["help"]
        rest = {name: value for name, value in attributes.items() if name not in ("shown", "help")}
        command = click.option(declaration, cls=Flag, help=text, **rest)(command)
    return command


def changed_limit_options(command: _Command) -> _Command:
    """Adds the limits of a run that is changed on purpose: no variable, and no defaults."""
    for declaration, attributes in reversed(_LIMITS):
        rest = {name: value for name, value in attributes.items() if name != "shown"}
        command = click.option(declaration, cls=BareFlag, **rest)(command)
    return command


_UPSTREAM_HELP = "The provider's base URL, in place of what OPENAI_BASE_URL and the like say."


def shim_options(command: _Command) -> _Command:
    """Adds how the calls of one program are forwarded."""
    upstream = click.option("--upstream", cls=Flag, type=Parsed("url", _check_upstream), help=_UPSTREAM_HELP)
    return _forwarding_options(command, upstream)


def gateway_shim_options(command: _Command) -> _Command:
    """Adds how the calls of many programs are forwarded, each to the provider that it means."""
    upstream = click.option(
        "--upstream",
        cls=Flag,
        multiple=True,
        type=Parsed("url", parse_upstream),
        metavar="[NAME=]URL",
        help=f"{_UPSTREAM_HELP} With a name, such as anthropic=URL, for that one alone. May be given several times.",
    )
    return _forwarding_options(command, upstream)


def _forwarding_options(command: _Command, upstream: Callable[[_Command], _Command]) -> _Command:
    options = (
        click.option(
            "--prices",
            cls=Flag,
            type=click.Path(exists=True, dir_okay=False, readable=True),
            help="The price table; else ~/.config/leash/prices.json, /etc/leash/prices.json.",
        ),
        upstream,
        click.option(
            "--no-inject", cls=Flag, is_flag=True, default=False, help="Do not ask streams to report their usage."
        ),
        click.option(
            "--max-body-bytes",
            cls=Flag,
            type=Parsed("bytes", parse_positive),
            default=DEFAULT_MAX_BODY_BYTES,
            help="The largest request that is taken.  [default: 64 MiB]",
        ),
        click.option(
            "--upstream-header-timeout",
            cls=Flag,
            type=DURATION,
            default=DEFAULT_HEADER_TIMEOUT,
            show_default=True,
            help="How long the provider may take to begin its answer; 0 for as long as it likes.",
        ),
        click.option(
            "--refusal-status",
            cls=Flag,
            type=click.Choice(("429", "402", "400")),
            help="The HTTP status of a refusal that is final.  [default: 429, but for clients that retry it]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def log_options(command: _Command) -> _Command:
    """Adds what leash itself logs to stderr."""
    level = click.option(
        "--log-level",
        cls=Flag,
        type=click.Choice(LOG_LEVELS),
        default="warning",
        show_default=True,
        help="Log from here.",
    )
    form = click.option(
        "--log-format", cls=Flag, type=click.Choice(LOG_FORMATS), default="text", show_default=True, help="Log as this."
    )
    return level(form(command))


def endpoint_options(command: _Command) -> _Command:
    """Adds which daemon is meant, for ``chosen_endpoint``. Their variables are read where the daemon is looked for."""
    socket = click.option(
        "--socket",
        cls=BareFlag,
        metavar="PATH",
        expose_value=False,
        callback=_name_daemon,
        shell_complete=complete_file,
        help="The daemon's socket; else LEASH_SOCKET.",
    )
    ledger = click.option(
        "--db",
        cls=BareFlag,
        metavar="PATH",
        expose_value=False,
        callback=_name_daemon,
        shell_complete=complete_file,
        help="A ledger with a daemon of its own; else LEASH_DB.",
    )
    return socket(ledger(command))


@dataclass(slots=True)
class _Named:
    """Which daemon was named, and for which command: what follows a command counts, not what precedes it."""

    context: click.Context
    socket: str | None = None
    db: str | None = None


def _name_daemon(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    named: _Named | None = ctx.meta.get(_NAMED)
    if value:
        if named is None or named.context is not ctx:
            named = ctx.meta[_NAMED] = _Named(ctx)
        if param.name == "socket":
            named.socket = value
        else:
            named.db = value


def named_daemon() -> tuple[str | None, str | None]:
    """The socket and the ledger that were named on the command line."""
    named: _Named | None = click.get_current_context().meta.get(_NAMED)
    return (None, None) if named is None else (named.socket, named.db)


def chosen_endpoint() -> Endpoint:
    """The daemon that the current command is for. Raises ``Failure`` where it may not be opened."""
    import os  # noqa: PLC0415

    from leash.client.errors import ClientError  # noqa: PLC0415
    from leash.client.paths import find_endpoint  # noqa: PLC0415

    socket, db = named_daemon()
    try:
        return find_endpoint(socket=socket, db=db, environ=os.environ)
    except ClientError as error:
        raise Failure(str(error)) from error


def parse_upstream(text: str) -> tuple[str, str]:
    """The name and the base URL in ``NAME=URL``; the name is empty where there is none. Raises ``ValueError``."""
    name, equals, url = text.partition("=")
    if not equals or ":" in name:
        name, url = "", text
    return name.strip(), _check_upstream(url.strip())


def _check_upstream(text: str) -> str:
    from leash_shim.mounts import Upstream  # noqa: PLC0415 (few runs name one)

    Upstream.parse(text)
    return text
