"""The programs as their own help has them: commands, flags, examples, exit codes. What the generated pages are made of.

The rule: nothing is said of a command here that the command does not say of itself.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

import click

from leashctl.main import leash, leashctl
from leashd.main import main as leashd

_EXAMPLES = "Examples:"
_EXIT = ("Exit code: ", "Exit codes: ")


@dataclass(frozen=True, slots=True)
class Flag:
    """One option: as it is typed (``--run RUN``), what it means, and its variable, empty where it has none."""

    typed: str
    text: str
    variable: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command. ``text`` and ``notes`` are paragraphs, of which one that begins with a tab is to stay as it is."""

    path: str
    usage: str
    summary: str
    text: list[str]
    flags: list[Flag]
    examples: list[str] = field(default_factory=list)
    exit_codes: str = ""
    notes: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def each(self) -> list[Command]:
        """The commands below this one, at any depth, in their order."""
        return [found for command in self.commands for found in (command, *command.each())]


def programs() -> dict[str, Command]:
    """The three programs by name. ``leash`` has the commands of ``leashctl``, and the flags of its ``wrap``."""
    return {
        "leashctl": _read(leashctl, "leashctl"),
        "leash": _read(leash, "leash", implied="wrap"),
        "leashd": _read(leashd, "leashd", implied="serve"),
    }


def _read(command: click.Command, name: str, *, parent: click.Context | None = None, implied: str = "") -> Command:
    ctx = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    below = []
    flags = _flags(command, ctx)
    if isinstance(command, click.Group):
        for each in command.list_commands(ctx):
            found = command.get_command(ctx, each)
            assert found is not None, "it is listed"
            below.append(_read(found, each, parent=ctx))
        if implied:
            meant = command.get_command(ctx, implied)
            assert meant is not None, "it is implied"
            own = {flag.typed for flag in flags}
            flags = [
                flag
                for flag in _flags(meant, click.Context(meant, parent=ctx, **meant.context_settings))
                if flag.typed not in own
            ] + flags
    examples, exit_codes, notes = _epilog(command.epilog or "")
    return Command(
        path=ctx.command_path,
        usage=" ".join((ctx.command_path, *command.collect_usage_pieces(ctx))),
        summary=command.get_short_help_str(limit=200).removesuffix("."),
        text=_paragraphs(command.help or ""),
        flags=flags,
        examples=examples,
        exit_codes=exit_codes,
        notes=notes,
        commands=below,
    )


def _flags(command: click.Command, ctx: click.Context) -> list[Flag]:
    flags = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is not None:
            variable = param.envvar if isinstance(param.envvar, str) else ""
            flags.append(Flag(record[0], record[1], variable))
    return flags


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a help text, each on one line, but for those that click is told to leave as they are."""
    paragraphs = []
    for part in inspect.cleandoc(text).split("\n\n"):
        lines = part.strip("\n").split("\n")
        if lines[0] == "\b":
            paragraphs.append("\n".join(f"\t{line}" for line in lines[1:]))
        else:
            paragraphs.append(" ".join(line.strip() for line in lines))
    return [paragraph for paragraph in paragraphs if paragraph]


def _epilog(text: str) -> tuple[list[str], str, list[str]]:
    """The lines of the examples, the sentence about exit codes, and the paragraphs besides."""
    examples: list[str] = []
    exit_codes = ""
    notes = []
    parts = text.replace("\n\b\n", "\n\n\b\n").split("\n\n")
    for part in filter(None, (part.strip("\n").removeprefix("\b\n") for part in parts)):
        lines = part.split("\n")
        joined = " ".join(line.strip() for line in lines)
        if lines[0] == _EXAMPLES:
            examples += [line.strip() for line in lines[1:]]
        elif part.startswith("  "):
            examples += ["", *(line.strip() for line in lines)]
        elif joined.startswith(_EXIT):
            exit_codes = joined.partition(": ")[2]
        else:
            notes.append(joined)
    return examples, exit_codes, notes
