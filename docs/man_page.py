"""The manual pages, in roff (``man 7 man``). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from command_line import Command, Flag

_CODE = re.compile(r"`([^`]+)`")
_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Manual:
    """What a page says beside the program's own help: where it belongs, and what it is about."""

    section: int
    summary: str
    about: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    see_also: str


_CLIENT_FILES = (
    ("~/.config/leash/prices.json, /etc/leash/prices.json", "The price table where none is named; the first counts."),
    ("~/.local/state/leash/leash.db", "The ledger of a user without a system daemon. XDG_STATE_HOME moves it."),
    ("/run/leash/leashd.sock, /run/leash/control.sock", "The sockets of the system daemon: for calls, for people."),
)
_CLIENT_ENVIRONMENT = (
    ("LEASH_SOCKET, LEASH_DB", "The daemon's socket, or a ledger with a daemon of its own."),
    ("LEASH_…", "Each flag of wrap and serve: LEASH_ and its name, such as LEASH_MAX_COST for --max-cost."),
    ("NO_COLOR", "Where it is set, nothing is coloured."),
)
_CLIENT = (("ENVIRONMENT", _CLIENT_ENVIRONMENT), ("FILES", _CLIENT_FILES))
_DAEMON_SIGNALS = (
    ("SIGTERM, SIGINT", "Commit what was asked, and exit with 0."),
    ("SIGHUP", "Read the configuration again. One that cannot be used changes nothing, and is logged."),
)
_DAEMON_FILES = (
    ("/etc/leash/leashd.toml", "The configuration with --system."),
    ("/etc/leash/prices.json", "The price table of the host, as the configuration names it."),
    ("/var/lib/leash/leash.db", "The ledger with --system."),
    ("/run/leash/leashd.sock, /run/leash/control.sock, /run/leash/ticket.sock", "The sockets with --system."),
)

MANUALS = {
    "leashctl": Manual(1, "govern what AI agents spend", _CLIENT, "leash(1), leashd(8)"),
    "leash": Manual(1, "run a program under a budget", _CLIENT, "leashctl(1), leashd(8)"),
    "leashd": Manual(
        8,
        "the daemon that owns leash's ledger",
        (("SIGNALS", _DAEMON_SIGNALS), ("FILES", _DAEMON_FILES)),
        "leashctl(1), systemctl(1)",
    ),
}


def man_page(name: str, program: Command) -> str:
    """The manual page of a program."""
    manual = MANUALS[name]
    lines = [
        r".\" Made from the program by `python docs/make.py man`: change the program's help, not this page.",
        f'.TH {name.upper()} {manual.section} "" leash "leash manual"',
        *(".SH NAME", rf"{name} \- {_escaped(manual.summary)}"),
        *(".SH SYNOPSIS", *_usage(program)),
        *(".SH DESCRIPTION", *_paragraphs(program.text)),
        *(".SH OPTIONS", *_flags(program.flags)),
    ]
    if name == "leash":
        lines += [".SH COMMANDS", "The commands are those of"]
        lines += [r"\fBleashctl\fR(1), such as", r"\fBleash ps\fR; what is none of them is a program to wrap."]
    elif program.commands:
        lines += [".SH COMMANDS"]
        for command in program.each():
            lines += _command(command)
    if program.exit_codes:
        lines += [".SH EXIT STATUS", *_paragraphs([program.exit_codes])]
    for title, entries in manual.about:
        lines += [f".SH {title}"]
        for term, text in entries:
            lines += [".TP", f".B {_escaped(term)}", _prose(text)]
    lines += [".SH EXAMPLES", *_verbatim(program.examples)]
    lines += [".SH SEE ALSO", _escaped(manual.see_also)]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> list[str]:
    title = command.path.partition(" ")[2]
    lines = [f".SS {_escaped(title)}", *_usage(command), ".PP", *_paragraphs(command.text), *_flags(command.flags)]
    if command.notes:
        lines += [".PP", *_paragraphs(command.notes)]
    if command.exit_codes:
        lines += [".PP", *_paragraphs([f"Exit status: {command.exit_codes}"])]
    if command.examples:
        lines += [".PP", *_verbatim(command.examples)]
    return lines


def _usage(command: Command) -> list[str]:
    rest = command.usage.removeprefix(command.path).strip()
    return [f".B {_escaped(command.path)}", *([_escaped(rest)] if rest else [])]


def _paragraphs(paragraphs: list[str]) -> list[str]:
    lines: list[str] = []
    for number, paragraph in enumerate(paragraphs):
        if number:
            lines.append(".PP")
        if paragraph.startswith("\t"):
            lines += _verbatim([line.removeprefix("\t") for line in paragraph.split("\n")])
        else:
            lines.append(_prose(paragraph))
    return lines


def _flags(flags: list[Flag]) -> list[str]:
    lines = []
    for flag in flags:
        variable = f" ({flag.variable})" if flag.variable else ""
        lines += [".TP", rf"\fB{_escaped(flag.typed)}\fR{_escaped(variable)}", _prose(flag.text) or r"\&"]
    return lines


def _verbatim(lines: list[str]) -> list[str]:
    return [".RS 4", ".EX", *(_escaped(line) for line in lines), ".EE", ".RE"]


def _prose(text: str) -> str:
    """A paragraph in which code and flags are bold."""
    parts = []
    for number, part in enumerate(_CODE.split(text)):
        if number % 2:
            parts.append(rf"\fB{_literal(part)}\fR")
        else:
            marked = _FLAG.sub(lambda found: f"\0{found[0]}\1", part)
            parts.append(_literal(marked).replace("\0", r"\fB").replace("\1", r"\fR"))
    return _begun("".join(parts))


def _escaped(text: str) -> str:
    return _begun(_literal(text))


def _literal(text: str) -> str:
    """Text in which roff sees no marks of its own, and whose dashes can be copied into a shell."""
    return text.replace("\\", r"\e").replace("-", r"\-")


def _begun(line: str) -> str:
    """A line that begins with no request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
