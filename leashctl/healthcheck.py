"""``leashctl healthcheck``: whether a gateway is ready, for container engines and scripts."""

from __future__ import annotations

import os

import click

from leashctl.failure import Failure

# A gateway answers within a second, also where it is not ready. This is for connecting and again for the answer, and
# engines give a check more than both.
_TIMEOUT_S = 2.0

_PATH = "/readyz"
_DEFAULT_URL = f"http://127.0.0.1:8089{_PATH}"

_EXAMPLES = """\b
Examples:
  leashctl healthcheck
  leashctl healthcheck --url http://127.0.0.1:8089/readyz

\b
Exit code: 0 where the gateway is ready; 1 where it is not; 2 for a mistake in the command line.
"""


@click.command("healthcheck", short_help="Ask a gateway whether it is ready.", epilog=_EXAMPLES)
@click.option(
    "--url", help=f"Its admin listener's {_PATH}.  [default: at LEASH_ADMIN where that is set, else {_DEFAULT_URL}]"
)
def healthcheck(*, url: str | None) -> None:
    """Ask a gateway's admin listener whether it is ready, and print the answer."""
    import http.client  # noqa: PLC0415 (only here)
    from urllib.parse import urlsplit  # noqa: PLC0415

    target = url or _local_url(os.environ.get("LEASH_ADMIN", ""))
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError as error:
        raise click.UsageError(f"--url: {target!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f"--url: {target!r} is no URL: write it as {_DEFAULT_URL}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", parts.path or _PATH)
        answer = connection.getresponse()
        said = answer.read(1000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"not ready: {target} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Failure(f"not ready: {said or answer.status}")
    click.echo(said)


def _local_url(admin: str) -> str:
    """Where a gateway on this host with this admin address is asked; an address of every interface is the loopback."""
    host, _, port = admin.rpartition(":")
    if not port:
        return _DEFAULT_URL
    if host in ("", "0.0.0.0", "[::]"):  # noqa: S104 (recognised, not listened on)
        host = "127.0.0.1"
    return f"http://{host}:{port}{_PATH}"
