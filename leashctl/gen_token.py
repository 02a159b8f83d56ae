"""``leashctl gen-token``: a secret for whoever may use a gateway."""

from __future__ import annotations

import secrets

import click

# 256 bits cannot be guessed.
_BYTES = 32

_EXAMPLES = """\b
Examples:
  leashctl gen-token
  leashctl gen-token > token && chmod 600 token

\b
Exit code: 0; 2 for a mistake in the command line.
"""


@click.command("gen-token", epilog=_EXAMPLES)
def gen_token() -> None:
    """Print a random token, safe in headers and URLs."""
    click.echo(secrets.token_urlsafe(_BYTES))
