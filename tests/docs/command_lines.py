"""The command lines of leash in a text, found without a shell and read by the program's own parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

import click

from leashctl.main import leash, leashctl
from leashd.main import main as leashd

PROGRAMS: dict[str, click.Group] = {"leash": leash, "leashctl": leashctl, "leashd": leashd}

# What a program may stand behind, apart from variables: these run what follows.
_BEFORE = frozenset(("sudo", "exec", "env", "time", "nohup", "$", "!", "then", "do", "if", "while", "until"))
# And these run it somewhere else, after words of their own.
_ELSEWHERE = frozenset(
    ("docker", "podman", "kubectl", "runuser", "su", "setpriv", "ssh", "systemd-run", "timeout", "watch")
)

_TOKEN = re.compile(
    r"""(?P<comment>(?:(?<=\s)|^)\#[^\n]*)
      | (?P<redirection>(?:(?<=\s)|^)\d*(?:<<<|>>|[<>])&?[ ]?[^\s;&|()<>]*)
      | (?P<blank>[ \t]+)
      | (?P<separator>[;&|()\n]+)
      | (?P<word>(?:\$\([^()]*\)|`[^`]*`|'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s;&|()<>'"\\])+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n.*?^\s*\2$", re.DOTALL | re.MULTILINE)
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
# What a log or a refusal says begins with a program's name as well.
_SENTENCE = re.compile(r"(?:leash|leashd|leashctl) (?:has|is|was|does|stopped|failed|cannot) ")
_ELLIPSES = ("…", "...")
_PLACEHOLDER = re.compile(r"…|\.\.\.|\$|<|\b[A-Z][A-Z_]+\b|\|")


class CommandLineError(Exception):
    """What the program would say to a command line."""


def command_lines(script: str) -> Iterator[list[str]]:
    """Each command of leash in a shell script: the program's name and its arguments."""
    plain = _HEREDOC.sub(r"\3", script.replace("\\\n", " "))
    for words in _commands(plain):
        found = _program(words)
        if found is not None:
            yield found


def inline_commands(prose: str) -> Iterator[list[str]]:
    """Each command of leash in the inline code of a text."""
    for ticks, code in re.findall(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", prose, re.DOTALL):
        del ticks
        text = " ".join(code.replace("\\|", "|").split())
        if re.match(r"(?:sudo )?(?:\S*/)?(?:leash|leashctl|leashd) \S", text) and not _SENTENCE.match(text):
            yield from command_lines(re.sub(r"[\[\]]", "", text))


def check(words: list[str], *, strict: bool) -> None:
    """Read a command line as the program would. CommandLineError for what it would refuse.

    Values may be placeholders, and arguments may be left out, unless it is ``strict``.
    """
    try:
        _parse(words, strict=strict)
    except CommandLineError:
        # An ellipsis may be a value, or stand for flags and arguments that are left out.
        shorter = [word for word in words if word not in _ELLIPSES]
        if shorter == words:
            raise
        _parse(shorter, strict=False)


def options() -> Iterator[click.Option]:
    """Every option of every command."""
    for program in PROGRAMS.values():
        yield from _options(program, click.Context(program))


def _options(command: click.Command, context: click.Context) -> Iterator[click.Option]:
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            yield parameter
    if isinstance(command, click.Group):
        # leashd's is implied, and not listed.
        for name in {*command.list_commands(context), "serve"}:
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _options(inner, context)


def _parse(words: list[str], *, strict: bool) -> None:
    program, *arguments = words
    has_placeholder = any(_PLACEHOLDER.search(word) for word in words)
    group: click.Command = PROGRAMS[program]
    try:
        context = group.make_context(program, arguments)
        while isinstance(group, click.Group):
            rest = [*context._protected_args, *context.args]
            if not rest:
                break
            name, command, rest = group.resolve_command(context, rest)
            assert command is not None
            group, context = command, command.make_context(name, rest, parent=context)
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
        return
    except (click.NoSuchOption, click.exceptions.NoSuchCommand) as error:
        raise CommandLineError(error.format_message()) from error
    except click.BadParameter as error:
        if strict and not has_placeholder:
            raise CommandLineError(error.format_message()) from error
    except click.UsageError as error:
        raise CommandLineError(error.format_message()) from error


def _commands(script: str) -> Iterator[list[str]]:
    """The words of each simple command, with quotes taken off."""
    words: list[str] = []
    for token in _TOKEN.finditer(script):
        kind = token.lastgroup
        if kind == "separator":
            yield words
            words = []
        elif kind == "word":
            words.append(_unquoted(token[0]))
            # What a substitution runs is a command of its own.
            for inner in re.findall(r"\$\(([^()]*)\)", token[0]):
                yield from _commands(inner)
    yield words


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word, comments=False)) if "$(" not in word else word
    except ValueError:
        return word


def _program(words: list[str]) -> list[str] | None:
    """The command line of leash among the words of a simple command; None where it is another program's."""
    position = 0
    while position < len(words) and (words[position] in _BEFORE or _ASSIGNMENT.fullmatch(words[position])):
        position += 1
    rest = words[position:]
    if not rest:
        return None
    if rest[0] in _ELSEWHERE:
        places = [at for at, word in enumerate(rest[:-1]) if word in PROGRAMS and at > 1]
        # `docker exec leash leashctl …`: the container's name comes before the program's.
        return rest[places[-1] :] if places and rest[1] not in ("build", "kill", "stop", "logs") else None
    name = PurePosixPath(rest[0]).name
    return [name, *rest[1:]] if name in PROGRAMS else None
