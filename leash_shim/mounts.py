"""Where a request belongs: which path prefix of the shim stands for which provider.

The rule: only the origin of a base URL is replaced. A program that called ``https://host/openai/v1/chat/completions``
calls ``http://127.0.0.1:PORT/MOUNT/openai/v1/chat/completions``, so whatever it does with the path of its base URL
(append, strip, join), it ends at the path that it would have reached without leash. Pure, and cheap to import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


class MountError(ValueError):
    """A base URL that leash cannot stand in for, with the name of the variable or flag that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The programs that find their provider by the same environment variables.

    ``variables`` are in the order in which the family's own SDK reads them. ``default_url`` is where that SDK goes
    with none of them set; empty where it goes nowhere, so that nothing is governed until the person sets one.
    """

    name: str
    variables: tuple[str, ...]
    default_url: str


# The defaults are those of the official SDKs. Only openai's carries a path, since its SDK appends no version.
FAMILIES = (
    Family(name="openai", variables=("OPENAI_BASE_URL", "OPENAI_API_BASE"), default_url="https://api.openai.com/v1"),
    Family(
        name="anthropic",
        variables=("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"),
        default_url="https://api.anthropic.com",
    ),
    Family(
        name="gemini",
        variables=("GOOGLE_GEMINI_BASE_URL",),
        default_url="https://generativelanguage.googleapis.com",
    ),
    Family(name="azure", variables=("AZURE_OPENAI_ENDPOINT",), default_url=""),
)

# What takes requests that name no mount and whose provider has none.
DEFAULT_MOUNT = "openai"

_PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_NO_PROXY_VARIABLES = ("NO_PROXY", "no_proxy")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider's base URL, split: ``origin`` is ``scheme://host[:port]``, ``path`` is empty or starts with a slash.

    The path has no slash at its end.
    """

    origin: str
    path: str

    @classmethod
    def parse(cls, base_url: str) -> Upstream:
        """The upstream of a base URL; user, query and fragment are no part of it. MountError where it is none."""
        parts = _split(base_url, named="the upstream")
        return cls(_origin(parts), parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes: ``origin`` and the ``path`` there, percent-encoded as the client sent it."""

    origin: str
    path: str


class MountTable:
    """The mounts of one shim, by name."""

    __slots__ = ("_upstreams",)

    def __init__(self, upstreams: Mapping[str, str]) -> None:
        self._upstreams = {name: Upstream.parse(base_url) for name, base_url in upstreams.items()}

    def mounted(self, path: str) -> Target | None:
        """The target of a path that starts with a mount's name; None for any other path."""
        name, slash, rest = path[1:].partition("/")
        upstream = self._upstreams.get(name)
        if upstream is None:
            return None
        return Target(upstream.origin, upstream.path + slash + rest or "/")

    def unmounted(self, path: str, provider: str) -> Target | None:
        """The target of a whole path on the host of its provider, or else of the default mount's; None with neither."""
        upstream = self._upstreams.get(provider) or self._upstreams.get(DEFAULT_MOUNT)
        if upstream is None:
            return None
        return Target(upstream.origin, path)


def child_environment(
    port: int, environ: Mapping[str, str], *, upstream: str = ""
) -> tuple[dict[str, str], dict[str, str]]:
    """What to add to a wrapped program's environment, and the upstreams (mount name to origin) that this needs.

    Each family's variables point at the shim on ``port``; their values in ``environ`` become the upstreams.
    ``upstream`` (``--upstream``) overrides them all: with a path it is the base URL in the sense of OPENAI_BASE_URL,
    without one it is a host that serves every family at its usual path. MountError names what is no base URL.
    """
    override = _split(upstream, named="--upstream") if upstream else None
    updates: dict[str, str] = {}
    upstreams: dict[str, str] = {}
    for family in FAMILIES:
        known = {variable: environ.get(variable, "").strip() for variable in family.variables}
        own_url = next((value for value in known.values() if value), family.default_url)
        if not own_url and override is None:
            continue
        for variable, value in known.items():
            base = _override_for(family, override) if override else _split(value or own_url, named=variable)
            name = _mount_name(family, variable, _origin(base), upstreams)
            upstreams[name] = _origin(base)
            updates[variable] = _child_url(port, name, base)
    updates.update(_past_proxies(environ))
    return updates, upstreams


def _override_for(family: Family, override: SplitResult) -> SplitResult:
    """The base URL of one family on the host that ``--upstream`` names."""
    version = urlsplit(family.default_url).path if family.default_url else ""
    path = override.path.rstrip("/")
    if not path:
        return override._replace(path=version)
    # The other families' SDKs append their version themselves.
    return override._replace(path=path if version else path.removesuffix("/v1"))


def _mount_name(family: Family, variable: str, origin: str, upstreams: Mapping[str, str]) -> str:
    """The family's name, or the variable's where two variables of a family name different hosts."""
    if upstreams.get(family.name, origin) == origin:
        return family.name
    return variable.lower()


def _child_url(port: int, name: str, base: SplitResult) -> str:
    """The shim's address under which the child finds ``base``. User and query stay, for the child sends them."""
    user, at, _ = base.netloc.rpartition("@")
    return base._replace(scheme="http", netloc=f"{user}{at}{_LOOPBACK}:{port}", path=f"/{name}{base.path}").geturl()


def _past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep a child with an HTTP proxy from sending its requests to the shim through that."""
    if not any(environ.get(variable) for variable in _PROXY_VARIABLES):
        return {}
    updates = {}
    for variable in _NO_PROXY_VARIABLES:
        hosts = [host for host in environ.get(variable, "").split(",") if host.strip()]
        if _LOOPBACK not in (host.strip() for host in hosts):
            hosts.append(_LOOPBACK)
        updates[variable] = ",".join(hosts)
    return updates


def _split(base_url: str, *, named: str) -> SplitResult:
    """The parts of an http or https URL with a host. The value is not shown: it may carry a password."""
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise MountError(f"{named} is no base URL: it needs the form http://host[:port][/path] or https://…")
    return parts


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
