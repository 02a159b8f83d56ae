"""Makes what is made from the program: ``python docs/make.py cli|man|completions|all``.

``docs/cli.md``, the manual pages and the completion scripts are committed as this makes them, and a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from cli_page import cli_page
from command_line import programs
from man_page import MANUALS, man_page

from leashctl.shell_scripts import PROGRAMS, SCRIPTS

_REPOSITORY = Path(__file__).resolve().parents[1]


def cli() -> dict[str, str]:
    """The reference of the command line, by its path in the repository."""
    return {"docs/cli.md": cli_page(programs())}


def man() -> dict[str, str]:
    """The manual pages."""
    found = programs()
    return {f"man/{name}.{manual.section}": man_page(name, found[name]) for name, manual in MANUALS.items()}


def completions() -> dict[str, str]:
    """The completion scripts, as each shell looks for them: bash and fish by the name of the program."""
    files = {"completions/zsh/_leashctl": SCRIPTS["zsh"]}
    for name in PROGRAMS:
        files[f"completions/bash/{name}"] = SCRIPTS["bash"]
        files[f"completions/fish/{name}.fish"] = SCRIPTS["fish"]
    return files


_MADE = {"cli": cli, "man": man, "completions": completions}


@click.command()
@click.argument("what", type=click.Choice((*_MADE, "all")))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=_REPOSITORY, help="Write below here."
)
def main(*, what: str, output: Path) -> None:
    """Write the files that are made from the program."""
    for name, make in _MADE.items():
        if what not in (name, "all"):
            continue
        for path, text in make().items():
            target = output / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            click.echo(target)


if __name__ == "__main__":
    sys.exit(main())
