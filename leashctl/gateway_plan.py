"""What ``serve`` is going to do, settled before anything is started: every mistake of the command line ends here.

What comes from files is settled anew on a reload, by the same code: ``GatewayFlags.settle``.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leash.governance import Governance
from leash.reactions import Reactions
from leash.units import NANOSECONDS_PER_SECOND
from leash_shim.gateway.config import GatewayConfig
from leash_shim.gateway.descriptors import connections_allowed
from leash_shim.gateway.tls import tls_context
from leash_shim.gateway.tokens import is_short, merged, parse_tokens, single_token
from leash_shim.mounts import MountError, gateway_upstreams
from leashctl.failure import say
from leashctl.options import DEFAULTS
from leashctl.price_file import PriceFile, standing_file
from leashctl.version import client_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leash.client.paths import Endpoint
    from leash_shim.gateway.tokens import TokenBook

# Somebody's notes are no tokens: thousands of tenants fit into this.
_MOST_TOKEN_FILE_BYTES = 4 << 20

# What others may do with a file of tokens, as the mode has it: read it, write it.
_OF_OTHERS = 0o007


@dataclass(frozen=True, slots=True)
class GatewayFlags:
    """The flags of ``serve`` as they were parsed, with the environment and the daemon that they are for."""

    flags: Mapping[str, Any]
    environ: Mapping[str, str]
    endpoint: Endpoint
    reactions: Reactions = field(default_factory=Reactions)

    @property
    def share(self) -> int:
        """How many connections each worker is to take; zero for any number."""
        share: int = -(-self.flags["max_conns"] // self.flags["workers"])
        return share

    def settle(self) -> GatewayConfig:
        """The configuration, with the files as they are now. ValueError with a sentence."""
        flags = self.flags
        prices, tokens = self._prices(), self._tokens()
        limits = Governance.from_flags(flags)
        tenants = {} if tokens is None else tokens.tenants
        for name, own in (("the gateway", Governance()), *((name, tenant.limits) for name, tenant in tenants.items())):
            _check_limits(name, DEFAULTS.overridden_by(limits).overridden_by(own))
        if flags["tls_cert"]:
            # By their names for the person, and by their texts for the workers.
            tls_context(flags["tls_cert"], flags["tls_key"])
        status = flags["refusal_status"]
        return GatewayConfig(
            endpoint=self.endpoint,
            client_version=client_version(),
            upstreams=self._upstreams(),
            limits=limits,
            defaults=DEFAULTS,
            prices=prices.text.decode("utf-8") if prices else "",
            tokens=tokens,
            run=flags["run"] or "",
            reactions=self.reactions,
            require_run_id=flags["require_run_id"],
            max_open_runs=flags["max_runs"],
            run_idle_s=seconds(flags["run_idle"]),
            inject=not flags["no_inject"],
            refusal_status=int(status) if status else None,
            max_body_bytes=flags["max_body_bytes"],
            max_connections=connections_allowed(self.share),
            upstream_header_timeout_s=seconds(flags["upstream_header_timeout"]),
            header_timeout_s=seconds(flags["header_timeout"]),
            idle_timeout_s=seconds(flags["idle_timeout"]),
            shutdown_timeout_s=seconds(flags["shutdown_timeout"]),
            tls_cert=_text_of(flags["tls_cert"]),
            tls_key=_text_of(flags["tls_key"]),
            access_log=flags["access_log"],
            log_level=flags["log_level"],
            log_format=flags["log_format"],
        )

    def _prices(self) -> PriceFile | None:
        named = self.flags["prices"]
        path = Path(named) if named else standing_file(self.environ)
        return None if path is None else PriceFile.read(path)

    def _upstreams(self) -> dict[str, str]:
        given = self.flags["upstream"]
        unnamed = [url for name, url in given if not name]
        if len(unnamed) > 1:
            raise ValueError("--upstream: one base URL is for all providers, and there are two (name them: NAME=URL)")
        named = {name: url for name, url in given if name}
        try:
            return gateway_upstreams(self.environ, upstream="".join(unnamed), named=named)
        except MountError as error:
            raise ValueError(str(error)) from error

    def _tokens(self) -> TokenBook | None:
        token, path = self.flags["auth_token"], self.flags["auth_token_file"]
        books = []
        if token:
            books.append(single_token(token))
            if is_short(token):
                say("warning: the token is short, and can be guessed: `leashctl gen-token` makes a better one")
        if path:
            books.append(_read_tokens(Path(path)))
        return merged(*books) if books else None


def check_access(flags: Mapping[str, Any]) -> None:
    """Refuses a gateway without a rule who may use it. Usage errors."""
    has_token = bool(flags["auth_token"] or flags["auth_token_file"])
    if flags["insecure"] and has_token:
        raise click.UsageError("--insecure lets anybody in, and there is a token: leave one of the two away")
    if not has_token and not flags["insecure"]:
        raise click.UsageError(
            "a gateway needs a token, which its clients send as X-Leash-Token: make one with `leashctl gen-token`, and "
            "give it with LEASH_AUTH_TOKEN or --auth-token-file FILE; --insecure lets in whoever can reach it"
        )
    if flags["run"] and flags["auth_token_file"]:
        raise click.UsageError(
            "--run is for one agent, and a file of tokens for many: give its own by LEASH_AUTH_TOKEN"
        )
    if bool(flags["tls_cert"]) != bool(flags["tls_key"]):
        missing = "--tls-key" if flags["tls_cert"] else "--tls-cert"
        raise click.UsageError(f"--tls-cert and --tls-key go together: {missing} is missing")


def _check_limits(name: str, limits: Governance) -> None:
    """Refuses what the daemon would refuse with the first call of each run. ValueError."""
    if limits.strict and limits.max_cost and limits.compute_rate and not limits.deadline:
        raise ValueError(f"{name}: --strict with a compute rate needs a deadline: without one compute has no ceiling")


def _read_tokens(path: Path) -> TokenBook:
    """The tokens in a file; warnings go to stderr. ValueError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"--auth-token-file: {path} is no file")
        with path.open("rb") as file:
            content = file.read(_MOST_TOKEN_FILE_BYTES + 1)
            mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(f"--auth-token-file: {path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_TOKEN_FILE_BYTES:
        raise ValueError(f"--auth-token-file: {path} is larger than {_MOST_TOKEN_FILE_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"--auth-token-file: {path} is no text in UTF-8") from error
    book, warnings = parse_tokens(text, source=str(path))
    if mode & _OF_OTHERS:
        warnings.insert(0, f"{path} can be read by others: chmod 600 {path}")
    for warning in warnings:
        say(f"warning: {warning}")
    return book


def seconds(duration_ns: int) -> float:
    """A flag's duration as what waits for it takes it."""
    return duration_ns / NANOSECONDS_PER_SECOND


def _text_of(path: str | None) -> str:
    """What stands in a file; nothing without one. ValueError."""
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read") from error
