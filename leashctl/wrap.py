"""``leashctl wrap``: run a program under a budget."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from leash.governance import Governance
from leash.names import new_run_name
from leash.units import NANOSECONDS_PER_SECOND
from leashctl.child import Child, CommandFailure
from leashctl.completing import complete_program
from leashctl.failure import EXIT_FAILED, Failure, say
from leashctl.options import (
    RUN,
    Flag,
    chosen_endpoint,
    endpoint_options,
    limit_options,
    log_options,
    shim_options,
)
from leashctl.plan import Plan, listen
from leashctl.reaction_options import chosen_reactions, reaction_options
from leashctl.terminal_modes import TerminalModes

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from leashctl.price_file import PriceFile
    from leashctl.status_line import StatusLine

# Where a run's notices go is no business of the program, and the address of a webhook may be a secret.
_OPENERS_OWN = frozenset(("LEASH_WEBHOOK", "LEASH_WEBHOOK_SECRET_FILE", "LEASH_ON_EVENT_EXEC", "LEASH_HOOK_TIMEOUT"))

_EXAMPLES = """\b
Examples:
  leashctl wrap --max-cost 5 -- python agent.py
  leashctl wrap --max-calls 50 --deadline 1h30m --rate 100000/1m -- npm run agent
  leashctl wrap --progress --max-cost 5 -- ./long_job.sh
  leashctl wrap --run nightly --max-cost 20 --prices prices.json -- ./nightly.sh
  leashctl wrap --upstream http://127.0.0.1:9099/v1 -- python agent.py

\b
Exit code: the program's own (128 + n where signal n ended it); 3 when the run was stopped; 2 for a
mistake in the command line; 1 when leash failed; 127 for a command that is not found, 126 for one
that cannot be executed.

\b
Each flag also reads LEASH_ and its name, such as LEASH_MAX_COST; the flag wins. Durations are
written as 90s, 15m, 1h30m. A zero turns a boundary off.
"""

# In the base URLs of the program, so that nobody else who finds the port can spend its budget. Beyond any guessing.
_SECRET_BYTES = 16

# Exit codes above this tell of a signal.
_SIGNALLED = 128


class _Wrap(click.Command):
    """The command, of whose line the part from the program's name on is completed as that program's."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Its flags, until the program is named."""
        if ctx.params.get("command"):
            command = next(param for param in self.params if param.name == "command")
            return complete_program(ctx, command, incomplete)
        return super().shell_complete(ctx, incomplete)


@click.command("wrap", cls=_Wrap, epilog=_EXAMPLES, context_settings={"allow_interspersed_args": False})
@limit_options
@click.option("--run", cls=Flag, type=RUN, help="The run's name; a run that exists goes on.  [default: random]")
@click.option(
    "--progress", cls=Flag, is_flag=True, default=False, help="Keep a line on the terminal: cost, limit, calls."
)
@shim_options
@reaction_options
@endpoint_options
@log_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True, shell_complete=complete_program)
def wrap(**flags: Any) -> None:
    """Run a program under a durable budget.

    Its OPENAI_BASE_URL, ANTHROPIC_BASE_URL and the like point at leash, which counts what the provider reports, and
    refuses the next call once a limit is reached. A line at the end says what it came to.
    """
    _occupy_standard_descriptors()
    plan = _plan(flags)
    child = Child()
    code, governed = EXIT_FAILED, False
    modes = TerminalModes()
    line = _status_line(plan, child) if flags["progress"] else None
    try:
        if not plan.is_named:
            child.start(plan.command, plan.environ)
        from leashctl.governed import govern  # noqa: PLC0415 (heavy: the program runs by now)

        code = govern(plan, child, line)
        governed = True
    except CommandFailure as failure:
        say(str(failure))
        code = failure.exit_code
    except Failure as failure:
        say(failure.message)
    except Exception as error:  # noqa: BLE001 (the program must not outlive its shim, and scripts must see 1)
        _say_internal(error, plan.log_level)
    finally:
        if line is not None:
            line.end()
        # Whatever has happened: nothing of the program goes on without its shim.
        if child.pid and not governed:
            from leashctl.process_tree import end_tree  # noqa: PLC0415

            end_tree(child.pid)
        if child.exit_code is None or child.exit_code > _SIGNALLED:
            modes.put_back()
    _exit(code)


def _status_line(plan: Plan, child: Child) -> StatusLine | None:
    """The line on the terminal, taken before the program asks how large that is; None without a terminal."""
    from leashctl.status_line import StatusLine, terminal_of  # noqa: PLC0415

    terminal = terminal_of(os.environ)
    if terminal is None:
        return None
    line = StatusLine(terminal)
    child.on_suspend, child.on_resume = line.suspend, line.resume
    line.show(f"leash {plan.run}")
    return line


def _occupy_standard_descriptors() -> None:
    """Keeps sockets off descriptors 0 to 2 where they were closed; the program finds them closed all the same."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, and is closed on exec


def _plan(flags: dict[str, Any]) -> Plan:
    """Settles everything that the command line, the environment and the files say. Raises usage errors."""
    from leash_shim.mounts import MountError, child_environment  # noqa: PLC0415

    prices = _prices(flags["prices"])
    limits = Governance.from_flags(flags)
    endpoint = chosen_endpoint()
    listener = listen()
    secret = os.urandom(_SECRET_BYTES).hex()
    try:
        updates, upstreams = child_environment(
            listener.getsockname()[1], os.environ, upstream=flags["upstream"] or "", secret=secret
        )
    except MountError as error:
        raise click.UsageError(str(error)) from error
    header_timeout_s = flags["upstream_header_timeout"] / NANOSECONDS_PER_SECOND
    return Plan(
        command=flags["command"],
        environ={**{name: value for name, value in os.environ.items() if name not in _OPENERS_OWN}, **updates},
        run=flags["run"] or new_run_name(),
        is_named=bool(flags["run"]),
        endpoint=endpoint,
        listener=listener,
        secret=secret,
        upstreams=upstreams,
        limits=limits,
        prices=prices,
        reactions=chosen_reactions(flags, endpoint),
        inject=not flags["no_inject"],
        max_body_bytes=flags["max_body_bytes"],
        header_timeout_s=header_timeout_s or float("inf"),
        refusal_status=int(flags["refusal_status"]) if flags["refusal_status"] else None,
        log_level=flags["log_level"],
        log_format=flags["log_format"],
    )


def _prices(named: str | None) -> PriceFile | None:
    """The price table: the one that was named, or the one that stands in its place; None where there is none."""
    from leashctl.price_file import PriceFile, PriceFileError, standing_file  # noqa: PLC0415

    path = Path(named) if named else standing_file(os.environ)
    if path is None:
        return None
    try:
        return PriceFile.read(path)
    except PriceFileError as error:
        raise click.UsageError(f"no price table: {error}") from error


def _say_internal(error: Exception, log_level: str) -> None:
    """Tells of an error that should not happen; its text may quote what was on the wire, and is for debugging only."""
    if log_level == "debug":
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    say(f"leash failed inside ({type(error).__name__}), the program was ended; --log-level debug shows where")


def _exit(code: int) -> NoReturn:
    """Ends at once: taking the interpreter and gRPC apart would only keep the caller waiting."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it was closed from the start
        with suppress(OSError):
            stream.flush()
    os._exit(code)
