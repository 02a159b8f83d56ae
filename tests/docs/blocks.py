"""The fenced blocks of a page, and what the comments directly above each say of it.

Whatever is read from a page is here. A directive is ``<!-- NAME -->`` or ``<!-- NAME: VALUE -->`` above a fence, with
nothing between but other directives and blank lines:

- ``exit: 3``: the block ends with this status, rather than with 0;
- ``background: WORDS``: the block is a server; what follows waits until it has printed the words;
- ``servers end``: the servers above are ended before this block;
- ``before: COMMANDS``: what a reader has done already, such as having a run of that name;
- ``output``: what the block before prints, where ``…`` stands for anything in a line, and alone for any lines;
- ``file: NAME``: the block is not run, but written to a file;
- ``not run: REASON``, ``run by PATH: WHAT``: why it is not run, and which test runs it instead;
- ``page not run: REASON``: the same for all blocks of a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness import REPOSITORY

LANGUAGES = frozenset(
    ("sh", "console", "text", "json", "yaml", "toml", "ini", "env", "python", "ts", "js", "dockerfile")
)
SHELL = frozenset(("sh", "console"))

# What a comment above a fence may say; the rest of it, after the colon, is the value.
_DIRECTIVE = re.compile(
    r"(?P<name>not run|run by|page not run|exit|background|before|servers end|output|file)(?::| |$)\s*(?P<value>.*)",
    re.DOTALL,
)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<language>.*)")


class PageError(Exception):
    """What is wrong with a page, and on which line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block. ``line`` is that of its opening fence, from one on."""

    page: str
    line: int
    language: str
    text: str
    directives: dict[str, str]

    @property
    def place(self) -> str:
        """Where it stands, as an editor takes it."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: its blocks in their order, what stands between them, and why none of them is run, if so."""

    name: str
    blocks: tuple[Block, ...]
    prose: str
    not_run: str

    @classmethod
    def read(cls, path: Path) -> Page:
        """Read a page of the repository. PageError for a fence or a comment that cannot be understood."""
        return cls.parse(str(path.relative_to(REPOSITORY)), path.read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, name: str, text: str) -> Page:
        """Take a page apart. Blank lines stand for the blocks in ``prose``, so that its lines keep their numbers."""
        blocks: list[Block] = []
        prose: list[str] = []
        lines = text.splitlines()
        number = above = 0  # what stands above a block begins after the one before it
        while number < len(lines):
            opening = _FENCE.fullmatch(lines[number])
            if opening is None:
                prose.append(lines[number])
                number += 1
                continue
            end = _closing(lines, number, opening)
            if end is None:
                raise PageError(f"{name}:{number + 1}: the block has no end")
            indent = len(opening["indent"])
            body = "".join(
                f"{line[min(indent, len(line) - len(line.lstrip())) :]}\n" for line in lines[number + 1 : end]
            )
            language = opening["language"].strip()
            directives = _directives(f"{name}:{number + 1}", prose[above:])
            blocks.append(Block(page=name, line=number + 1, language=language, text=body, directives=directives))
            prose.extend("" for _ in range(number, end + 1))
            number = above = end + 1
        whole = "\n".join(prose)
        comments = [_DIRECTIVE.fullmatch(comment.strip()) for comment in _COMMENT.findall(whole)]
        reasons = [comment["value"] for comment in comments if comment and comment["name"] == "page not run"]
        return cls(
            name=name, blocks=tuple(blocks), prose=whole, not_run=" ".join(reasons[0].split()) if reasons else ""
        )


def pages() -> list[Path]:
    """Every page for people: the README and what is below docs."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def tags(page: Page) -> Iterator[tuple[Block, str, str]]:
    """Each shell block that is not run here, with the kind of its tag and the reason."""
    for block in page.blocks:
        if block.language not in SHELL or "file" in block.directives:
            continue
        for kind in ("not run", "run by"):
            if kind in block.directives:
                yield block, kind, block.directives[kind]
        if page.not_run and not {"not run", "run by"} & set(block.directives):
            yield block, "page not run", page.not_run


def _closing(lines: list[str], opening_line: int, opening: re.Match[str]) -> int | None:
    for number in range(opening_line + 1, len(lines)):
        stripped = lines[number].strip()
        if stripped.startswith(opening["ticks"]) and not stripped.strip("`"):
            return number
    return None


def _directives(place: str, before: list[str]) -> dict[str, str]:
    """What the comments directly above say; a blank line may stand between."""
    found: dict[str, str] = {}
    position = len(before)
    while position:
        line = before[position - 1].strip()
        if not line:
            position -= 1
            continue
        if not line.endswith("-->"):
            break
        start = next((at for at in range(position - 1, -1, -1) if "<!--" in before[at]), None)
        if start is None:
            raise PageError(f"{place}: a comment ends above the block, and does not begin")
        comment = "\n".join(before[start:position]).strip()
        position = start
        whole = _COMMENT.fullmatch(comment)
        directive = _DIRECTIVE.fullmatch(whole[1].strip()) if whole else None
        if directive is None:
            raise PageError(f"{place}: the comment above the block is no directive: {comment}")
        if directive["name"] != "page not run":
            is_script = directive["name"] == "before"
            found[directive["name"]] = directive["value"] if is_script else " ".join(directive["value"].split())
    return found
