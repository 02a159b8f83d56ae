"""``leashctl serve``: the gateway, one endpoint for many runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from leash.names import check_name_part
from leash_shim.gateway.listeners import Address, ListenError, address_of, listen, passed_listener
from leashctl.failure import Failure, say
from leashctl.options import (
    COUNT,
    DURATION,
    Flag,
    Parsed,
    chosen_endpoint,
    endpoint_options,
    gateway_shim_options,
    limit_options,
    log_options,
    parse_positive,
)
from leashctl.reaction_options import chosen_reactions, reaction_options

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from leash_shim.gateway.config import GatewayConfig
    from leashctl.gateway_plan import GatewayFlags

_TOKEN_VARIABLE = "LEASH_AUTH_TOKEN"  # noqa: S105 (a name)

_EXAMPLES = """\b
Examples:
  leashctl gen-token > token && chmod 600 token
  leashctl serve --auth-token-file token --max-cost 20 --prices prices.json
  LEASH_AUTH_TOKEN=… leashctl serve --listen :8088 --workers 4 --admin 127.0.0.1:8089
  leashctl serve --insecure --upstream http://127.0.0.1:9099/v1 --max-calls 3

\b
A client names its run in X-Loop-Id and its token in X-Leash-Token; one that cannot add headers puts
both into its base URL: http://HOST:8088/t/TOKEN/run/RUN/v1. (URLs are logged by proxies and SDKs, and
tokens with them.) Each run gets the limits that are given here, and its own budget.

\b
Signals: SIGTERM and SIGINT end the gateway once its calls have ended, a second one at once. SIGHUP reads
the tokens, the prices and the certificate again. SIGUSR2 replaces the workers without losing a call.

\b
Exit code: 0 when it was told to end; 2 for a mistake in the command line; 1 when leash failed, such as
where the address is in use, or no daemon can be had.

\b
Each flag also reads LEASH_ and its name, such as LEASH_MAX_COST; the flag wins. Durations are
written as 90s, 15m, 1h30m. A zero turns a boundary or a bound off.
"""

_ADDRESS = Parsed("address", Address.parse)
_FILE = click.Path(dir_okay=False)


def _gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what a gateway has beside limits: who may come in, how many, and for how long."""
    options = (
        click.option(
            "--listen",
            cls=Flag,
            type=_ADDRESS,
            default="127.0.0.1:8088",
            show_default=True,
            metavar="[HOST]:PORT",
            help="Where clients connect; :8088 is every interface. A socket that systemd passes goes before it.",
        ),
        click.option(
            "--workers",
            cls=Flag,
            type=Parsed("count", parse_positive),
            default=1,
            show_default=True,
            help="Processes that serve.",
        ),
        click.option(
            "--auth-token",
            cls=Flag,
            metavar="TOKEN",
            help="The token of every client. It shows in the process list: LEASH_AUTH_TOKEN does not.",
        ),
        click.option(
            "--auth-token-file",
            cls=Flag,
            type=_FILE,
            help="Tokens, one a line: [TENANT:] TOKEN [run=NAME] [max-runs=N] [max-cost=…].",
        ),
        click.option("--insecure", cls=Flag, is_flag=True, default=False, help="Let in whoever can reach it."),
        click.option(
            "--run",
            cls=Flag,
            type=Parsed("run", check_name_part),
            help="Serve this one run: a call need not name it, and may name no other.",
        ),
        click.option(
            "--require-run-id", cls=Flag, is_flag=True, default=False, help="Refuse a call that names no run."
        ),
        click.option("--max-conns", cls=Flag, type=COUNT, default=4096, show_default=True, help="Connections at once."),
        click.option(
            "--max-runs",
            cls=Flag,
            type=COUNT,
            default=1000,
            show_default=True,
            help="Runs open at once, beyond which no new one is made.",
        ),
        _duration("--run-idle", "10m", "How long a run stays open without a call."),
        _duration("--header-timeout", "30s", "How long a client may take to send a request's head."),
        _duration("--idle-timeout", "10m", "How long a connection may be idle, or take or send nothing in a call."),
        _duration("--shutdown-timeout", "30s", "How long calls under way may take at the end; 0 cuts them."),
        _duration("--drain-delay", "0s", "How long to go on at the end, while /readyz says 503 already."),
        click.option("--tls-cert", cls=Flag, type=_FILE, help="The certificate chain, in PEM, to serve HTTPS."),
        click.option("--tls-key", cls=Flag, type=_FILE, help="Its key, without a passphrase."),
        click.option(
            "--admin",
            cls=Flag,
            type=_ADDRESS,
            metavar="[HOST]:PORT",
            help="Where /healthz, /readyz, /metrics and, at /, a page of the runs are; not at all without it.",
        ),
        click.option(
            "--access-log",
            cls=Flag,
            type=click.Choice(("text", "json", "off")),
            default="off",
            show_default=True,
            help="A line on stdout for each request.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _duration(name: str, default: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, cls=Flag, type=DURATION, default=default, show_default=True, help=text)


@click.command("serve", epilog=_EXAMPLES, short_help="Serve one endpoint for many runs, each with its own budget.")
@_gateway_options
@limit_options
@gateway_shim_options
@reaction_options
@endpoint_options
@log_options
@click.pass_context
def serve(context: click.Context, /, **flags: Any) -> None:
    """Serve a gateway: one endpoint for many clients, each run of theirs with a durable budget of its own.

    It forwards to the provider that a request means, and needs no provider's key: clients send their own.
    """
    from leashctl.gateway_plan import GatewayFlags, check_access  # noqa: PLC0415 (not for --help)

    check_access(flags)
    if context.get_parameter_source("auth_token") is ParameterSource.COMMANDLINE:
        say("warning: --auth-token shows in the process list; give it with LEASH_AUTH_TOKEN or --auth-token-file")
    endpoint = chosen_endpoint()
    settled = GatewayFlags(flags, dict(os.environ), endpoint, chosen_reactions(flags, endpoint))
    # Nothing that is started from here on needs it.
    os.environ.pop(_TOKEN_VARIABLE, None)
    try:
        config = settled.settle()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _say_about_prices(config)
    if config.max_connections != settled.share:
        say(
            f"warning: a process may open too few files (ulimit -n) for --max-conns: each worker takes "
            f"{config.max_connections} connections"
        )
    _run(flags, config, _reread(settled))


def _reread(settled: GatewayFlags) -> Callable[[], GatewayConfig]:
    """What settles the configuration anew, and tells of files that it cannot be had from."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    named = (settled.flags[name] for name in ("auth_token_file", "tls_cert", "tls_key"))
    copies = [path for path in named if path and directory and Path(path).parent == Path(directory)]

    def reread() -> GatewayConfig:
        for path in copies:
            say(
                f"warning: {path} is systemd's copy from the start of this service: `systemctl restart` takes a new one"
            )
        return settled.settle()

    return reread


def _say_about_prices(config: GatewayConfig) -> None:
    from leashctl.price_notice import price_notice  # noqa: PLC0415

    limits = config.limits
    if not config.prices and limits.max_cost != 0:
        say(price_notice(budgeted=bool(limits.max_cost), on_blind=limits.on_blind or "refuse"))


def _run(flags: dict[str, Any], config: GatewayConfig, reread: Callable[[], GatewayConfig]) -> None:
    """Listens, and runs the gateway to its end. Raises ``Failure``."""
    from leash.client.errors import ClientError  # noqa: PLC0415
    from leash.log import configure  # noqa: PLC0415
    from leash.notify import Notifier  # noqa: PLC0415
    from leash_shim.gateway.supervisor import GatewayFailure, GatewayPlan, supervise  # noqa: PLC0415 (heavy)
    from leashctl.gateway_plan import seconds  # noqa: PLC0415

    try:
        passed = passed_listener(os.environ)
        listeners = listen(flags["listen"], flags["workers"]) if passed is None else [passed]
        admin = listen(flags["admin"])[0] if flags["admin"] is not None else None
    except ListenError as error:
        raise Failure(str(error)) from error
    if config.tokens is None and passed is None and not flags["listen"].is_loopback:
        say("warning: --insecure: whoever can reach this address can spend on every budget here")
    configure(level=config.log_level, log_format=config.log_format)
    plan = GatewayPlan(
        config=config,
        listeners=listeners,
        workers=flags["workers"],
        admin=admin,
        drain_delay_s=seconds(flags["drain_delay"]),
        announcement=_announcement(listeners[0], admin, workers=flags["workers"], secure=bool(config.tls_cert)),
        reread=reread,
        say=say,
        notifier=Notifier.taken_from(os.environ),
    )
    try:
        supervise(plan)
    except (ClientError, GatewayFailure) as error:
        raise Failure(f"the gateway cannot be run: {error}") from error


def _announcement(listener: socket.socket, admin: socket.socket | None, *, workers: int, secure: bool) -> str:
    counted = "1 worker" if workers == 1 else f"{workers} workers"
    line = f"gateway on {'https' if secure else 'http'}://{address_of(listener)}, {counted}"
    return line if admin is None else f"{line}; admin on http://{address_of(admin)}"
