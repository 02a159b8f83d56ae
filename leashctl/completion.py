"""``leashctl completion``: the script that makes a shell complete commands, flags, files and the names of runs."""

from __future__ import annotations

import click

from leashctl.shell_scripts import SCRIPTS

_EXAMPLES = """\b
Examples:
  eval "$(leashctl completion bash)"                  # in ~/.bashrc
  leashctl completion zsh > ~/.zfunc/_leashctl        # in a directory of $fpath, before compinit
  leashctl completion fish > ~/.config/fish/completions/leashctl.fish

\b
Exit code: 0 when it is printed, 2 for a mistake in the command line.
"""


@click.command("completion", short_help="Print a shell's completion script.", epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(tuple(SCRIPTS)))
def completion(*, shell: str) -> None:
    """Print the script that completes leashctl, leash and leashd in a shell.

    It completes commands, flags, their values and the names of runs, which it asks the daemon for, and leaves the
    command line of a wrapped program to that program's own completion. It never starts a daemon.
    """
    click.echo(SCRIPTS[shell], nl=False)
