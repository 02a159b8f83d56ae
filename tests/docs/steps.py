"""What of a page is run: its shell blocks as steps of one bash, and what each has to print. Nothing is started here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.blocks import SHELL, Block, Page, PageError

# In a console block a command may ask for the status of the one before.
_ASKS_STATUS = "echo $?"

ELLIPSIS = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that is done in the page's shell, or a file that is written before.

    ``printed`` is None where nothing is said of it. With ``background``, the step is a server, and the next one begins
    once it has printed those words; with ``servers_end``, those before are ended first.
    """

    place: str
    script: str
    file: str = ""
    status: int | None = 0
    printed: str | None = None
    background: str = ""
    servers_end: bool = False


def steps(page: Page) -> list[Step]:
    """The steps of a page. PageError for directives that do not go together."""
    found: list[Step] = []
    for block in page.blocks:
        if "file" in block.directives:
            found.append(Step(place=block.place, script=block.text, file=block.directives["file"]))
        elif "output" in block.directives:
            _expect(found, block)
        elif page.not_run or block.language not in SHELL or {"not run", "run by"} & set(block.directives):
            continue
        else:
            found.extend(_run(block))
    return found


def _run(block: Block) -> list[Step]:
    """The steps of one shell block, with what goes before it."""
    found = []
    if "servers end" in block.directives or "before" in block.directives:
        before = f"{block.directives.get('before', ':')}\n"
        found.append(Step(place=block.place, script=before, servers_end="servers end" in block.directives))
    if block.language == "console":
        found.extend(_dialogue(block))
    else:
        status = int(block.directives.get("exit", "0"))
        background = block.directives.get("background", "")
        found.append(Step(place=block.place, script=block.text, status=status, background=background))
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether a program printed what a page says: ``…`` stands for anything in a line, and alone for any lines."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == ELLIPSIS:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.rstrip().split(ELLIPSIS))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.splitlines())) is not None


def _expect(found: list[Step], block: Block) -> None:
    """Says of the last step what it prints."""
    last = found.pop() if found else None
    if last is None or last.file or last.background or last.printed is not None:
        raise PageError(f"{block.place}: an output stands below the block that prints it")
    found.append(Step(place=last.place, script=last.script, status=last.status, printed=block.text))


def _dialogue(block: Block) -> list[Step]:
    """The commands of a console block, each with what is printed below it."""
    if "background" in block.directives:
        raise PageError(f"{block.place}: a server stands in an sh block of its own")
    found: list[Step] = []
    command = printed = ""
    line_number = at = block.line
    goes_on = False
    for line in block.text.splitlines():
        line_number += 1
        if line.startswith("$ ") and not goes_on:
            if command:
                found.append(_said(block.page, at, command, printed))
            command, printed, at = f"{line[2:]}\n", "", line_number
            goes_on = line.endswith("\\")
        elif command and not printed and (goes_on or line.startswith("> ")):
            command += f"{line.removeprefix('> ')}\n"
            goes_on = line.endswith("\\")
        elif command:
            printed += f"{line}\n"
        else:
            raise PageError(f"{block.page}:{line_number}: a console block begins with `$ ` and a command")
    if not command:
        raise PageError(f"{block.place}: a console block has a command")
    found.append(_said(block.page, at, command, printed))
    return _with_statuses(found, int(block.directives.get("exit", "0")))


def _said(page: str, line: int, command: str, printed: str) -> Step:
    return Step(place=f"{page}:{line}", script=command, printed=printed)


def _with_statuses(said: list[Step], last_status: int) -> list[Step]:
    """Any status will do where the next command asks for it; the last one's is the block's."""
    found: list[Step] = []
    for number, step in enumerate(said):
        is_last = number + 1 == len(said)
        asked = not is_last and said[number + 1].script.strip() == _ASKS_STATUS
        status = None if asked else last_status if is_last else 0
        script = 'echo "$_status"\n' if step.script.strip() == _ASKS_STATUS else step.script
        found.append(Step(place=step.place, script=script, status=status, printed=step.printed))
    return found
