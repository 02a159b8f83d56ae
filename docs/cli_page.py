"""The page ``docs/cli.md``, as Markdown. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from command_line import Command, Flag

_WIDTH = 120

_HEAD = """\
<!-- Made from the program by `python docs/make.py cli`: change the program's help, not this page. -->
<!-- page not run: its examples name runs, files and addresses of their own; each is checked by the program's parser -->

# Command line

leash has three programs, and `--help` of each says what stands here.

| program | for |
|---|---|
| [`leashctl`](#leashctl) | people: run a program under a budget, serve a gateway, look at runs and act on them |
| [`leash`](#leash) | the same, with `wrap` implied |
| [`leashd`](#leashd) | the daemon, which owns the ledger and decides; it is started on demand, or by systemd |

A flag wins over its variable. Durations are written as `90s`, `15m` or `1h30m`, dollars as `5` or `0.25`, a rate as
`100000/1m`. `leashctl completion bash` (or `zsh`, `fish`) prints the script that completes commands, flags and the
names of runs.
"""


def cli_page(programs: dict[str, Command]) -> str:
    """The page about all programs."""
    lines = [_HEAD]
    for name, program in programs.items():
        lines += _section(program, level=2)
        if name == "leash":
            names = ", ".join(f"`{command.path.partition(' ')[2]}`" for command in program.commands)
            lines += [f"Its commands are those of [`leashctl`](#leashctl): {names}.", ""]
            continue
        if program.commands:
            lines += ["| command | for |", "|---|---|"]
            lines += [
                f"| [`{command.path}`](#{command.path.replace(' ', '-')}) | {_cell(command.summary)} |"
                for command in program.each()
            ]
            lines += [""]
        for command in program.each():
            lines += _section(command, level=3)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(command: Command, *, level: int) -> list[str]:
    lines = [f"{'#' * level} {command.path}", "", "```text", f"usage: {command.usage}", "```", ""]
    for paragraph in command.text:
        lines += _paragraph(paragraph)
    lines += _flag_table(command.flags)
    for note in command.notes:
        lines += _paragraph(note)
    if command.exit_codes:
        lines += [_wrapped(f"**Exit code:** {command.exit_codes}").replace(r"\*\*", "**"), ""]
    if command.examples:
        lines += ["```sh", *command.examples, "```", ""]
    return lines


def _paragraph(text: str) -> list[str]:
    if text.startswith("\t"):
        return ["```text", *(line.removeprefix("\t") for line in text.split("\n")), "```", ""]
    return [_wrapped(text), ""]


def _flag_table(flags: list[Flag]) -> list[str]:
    if not flags:
        return []
    if not any(flag.variable for flag in flags):
        rows = [f"| `{_code(flag.typed)}` | {_cell(flag.text)} |" for flag in flags]
        return ["| flag | meaning |", "|---|---|", *rows, ""]
    rows = [
        f"| `{_code(flag.typed)}` | {f'`{flag.variable}`' if flag.variable else ''} | {_cell(flag.text)} |"
        for flag in flags
    ]
    return ["| flag | variable | meaning |", "|---|---|---|", *rows, ""]


def _prose(text: str) -> str:
    """Text in which Markdown sees no marks of its own, but for the code that help texts have."""
    parts = text.split("`")
    return "`".join(
        part if number % 2 else part.replace("*", r"\*").replace("<", "&lt;") for number, part in enumerate(parts)
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(_prose(text), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return _prose(text).replace("|", r"\|")


def _code(text: str) -> str:
    return text.replace("|", r"\|")
