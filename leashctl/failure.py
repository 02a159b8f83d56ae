"""How a command fails: one line on stderr and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_STOPPED = 3


class Failure(click.ClickException):
    """leash could not do what was asked; the message is a sentence for whoever typed the command."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the message to stderr."""
        click.echo(f"leash: {self.message}", file=file, err=file is None)


def say(line: str) -> None:
    """Prints a line of leash's own to stderr, and goes on where nobody reads it any more."""
    try:
        click.echo(f"leash: {line}", err=True)
    except OSError:
        # The terminal or the pipe is gone; what the program comes to does not depend on it.
        return
