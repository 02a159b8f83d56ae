"""Where a request belongs: which path prefix of the shim stands for which provider.

The rule: only the origin of a base URL is replaced. A program that called ``https://host/openai/v1/chat/completions``
calls ``http://127.0.0.1:PORT/SECRET/MOUNT/openai/v1/chat/completions``, so whatever it does with the path of its base
URL (append, strip, join), it ends at the path that it would have reached without leash. The one exception are variables
that nobody has set and whose readers expect different paths in them (``Family.bare``). Pure, and cheap to import.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from leash_shim.families import DEFAULT_MOUNT, FAMILIES, PROVIDERS, Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class MountError(ValueError):
    """A base URL that leash cannot stand in for, with the name of the variable or flag that holds it."""


# What a path goes on with where a version, and nothing else, was left out before it. Paths that go on otherwise (an
# SDK's own telemetry, an account's settings) have no version to miss.
_ENDPOINTS = frozenset(
    (
        *("audio", "batches", "chat", "classify", "complete", "completions", "embeddings", "files", "fim", "images"),
        *("messages", "models", "moderations", "ocr", "rerank", "responses", "uploads"),
    )
)

_PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_NO_PROXY_VARIABLES = ("NO_PROXY", "no_proxy")
_LOOPBACK = "127.0.0.1"

# A version in a path: v1, v1beta, v2.
_VERSIONS = re.compile(r"v[0-9]+[a-z]*[0-9]*")

# What a mount may be called, unless it stands for something else at the beginning of a path.
_MOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RESERVED_NAMES = _ENDPOINTS | {"t", "run", "api"}

# The version of OpenAI's API, which gateways for several formats put before Anthropic's endpoints, too.
_VERSION = "/v1"

_BASE_URL = "OPENAI_BASE_URL"
_BASE_PATH = "OPENAI_BASE_PATH"
_AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
_OLLAMA_PORT = "11434"
_LISTENING = {"": _LOOPBACK, "0.0.0.0": _LOOPBACK, "[::]": "[::1]"}  # noqa: S104 (nothing is bound to it)


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
    """The mounts of one shim, by name. A base URL with a path completes the paths of requests that lack a part of it.

    Below ``https://host/openai/v1`` stand ``/chat/completions``, ``/v1/chat/completions`` and
    ``/openai/v1/chat/completions`` for the same, since clients of one variable disagree on what its value holds. Paths
    that do not go on with an endpoint's name are left as they are.
    """

    __slots__ = ("_upstreams",)

    def __init__(self, upstreams: Mapping[str, str]) -> None:
        self._upstreams = {name: Upstream.parse(base_url) for name, base_url in upstreams.items()}

    def mounted(self, path: str) -> Target | None:
        """The target of a path that starts with a mount's name; None for any other path."""
        name, slash, rest = path[1:].partition("/")
        upstream = self._upstreams.get(name)
        if upstream is None:
            return None
        return Target(upstream.origin, _completed(upstream.path, rest) if upstream.path else slash + rest or "/")

    def unmounted(self, path: str, provider: str) -> Target | None:
        """The target of a path without a mount at its provider, or else at the default mount's; None with neither."""
        upstream = self._upstreams.get(provider) or self._upstreams.get(DEFAULT_MOUNT)
        if upstream is None:
            return None
        return Target(upstream.origin, _completed(upstream.path, path[1:]) if upstream.path else path)


def _completed(base_path: str, rest: str) -> str:
    """The path of a request for ``rest`` below a base path, as much of which is put before it as is not there."""
    wanted, given = base_path[1:].split("/"), rest.split("/")
    there = next(size for size in range(len(wanted), -1, -1) if given[:size] == wanted[len(wanted) - size :])
    following = given[there] if len(given) > there else ""
    is_endpoint = following in _ENDPOINTS or (
        # Below a path without a version stand all that a provider has.
        not any(map(_VERSIONS.fullmatch, wanted)) and (following == "api" or _VERSIONS.fullmatch(following) is not None)
    )
    return "/" + "/".join((*wanted[: len(wanted) - there], *given) if is_endpoint else given)


def gateway_upstreams(
    environ: Mapping[str, str], *, upstream: str = "", named: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """The base URLs of a gateway, by mount: those of the providers, and of every family that ``environ`` gives one.

    ``upstream`` (``--upstream URL``) is one host for all of them, in the sense of OPENAI_BASE_URL as for a wrapped
    program; ``named`` (``--upstream NAME=URL``) goes before all else, and may name further mounts. MountError names
    what is no base URL or no name.
    """
    override = _split(upstream, named="--upstream") if upstream else None
    upstreams: dict[str, str] = {}
    for family in FAMILIES:
        own_url = next((value for variable in family.variables if (value := _given(variable, environ))), "")
        if override is not None and family in PROVIDERS:
            upstreams[family.name] = _override_for(family, own_url, override)[0].geturl()
        elif own_url:
            upstreams[family.name] = _split(own_url, named=family.variables[0]).geturl()
        elif family in PROVIDERS:
            upstreams[family.name] = family.default_url
    for name, url in named.items():
        if _MOUNT_NAME.fullmatch(name) is None:
            raise MountError("--upstream: the name before = has small letters, digits, - and _, and no more than 63")
        if name in _RESERVED_NAMES or _VERSIONS.fullmatch(name):
            raise MountError(f"--upstream {name}=…: paths begin with /{name} already, name it otherwise")
        upstreams[name] = _split(url, named=f"--upstream {name}").geturl()
    return upstreams


def child_environment(
    port: int, environ: Mapping[str, str], *, upstream: str = "", secret: str = ""
) -> tuple[dict[str, str], dict[str, str]]:
    """What to add to a wrapped program's environment, and the upstreams (mount name to base URL) that this needs.

    Each family's variables point at the shim on ``port``; their values in ``environ`` become the upstreams, and the
    defaults of their readers where there are none. ``upstream`` (``--upstream``) takes the place of them all, vendors
    and local servers included, as one host that serves every format: it is the base URL in the sense of
    OPENAI_BASE_URL, without a path the one that ends in ``/v1``. Families whose readers append the version themselves
    get what stands before it. Variables that are only redirected once they are set stay unset all the same, and only
    OPENAI_BASE_URL is set in any case. ``secret`` is a path segment that goes before the mounts, none where it is
    empty. MountError names what is no base URL.
    """
    below = f"/{secret}" if secret else ""
    override = _split(upstream, named="--upstream") if upstream else None
    updates: dict[str, str] = {}
    upstreams: dict[str, str] = {}
    for family in FAMILIES:
        given = {variable: _given(variable, environ) for variable in family.variables}
        own_url = next((value for value in given.values() if value), "")
        yields = family.yields_to and environ.get(family.yields_to, "").strip()
        if not own_url and (not family.default_url or yields):
            continue
        for variable, value in given.items():
            if value is None and (override is None or variable != _BASE_URL):
                continue
            if override is None:
                base, bare = _split(value or own_url or family.default_url, named=variable), family.bare and not own_url
            else:
                base, bare = _override_for(family, own_url, override)
            target = _origin(base) + (base.path.rstrip("/") if bare else "")
            name = _mount_name(family, variable, target, upstreams)
            upstreams[name] = target
            updates[variable] = _child_url(port, f"{below}/{name}", base._replace(path="") if bare else base)
    updates.update(_relative_base_path(environ))
    updates.update(_past_proxies(environ))
    return updates, upstreams


def _given(variable: str, environ: Mapping[str, str]) -> str | None:
    """The base URL that the environment gives a variable; empty for the default, None where it is to be left alone."""
    value = environ.get(variable, "").strip()
    read = _READERS.get(variable)
    return value if read is None else read(value, environ)


def _openai_base_url(value: str, environ: Mapping[str, str]) -> str | None:
    """Left alone where there is an Azure endpoint and no key of OpenAI's.

    Azure's client for Node takes this variable before the endpoint, and would send Azure's key to OpenAI.
    """
    azure_alone = environ.get(_AZURE_ENDPOINT, "").strip() and not environ.get("OPENAI_API_KEY", "").strip()
    return None if not value and azure_alone else value


def _openai_api_base(value: str, environ: Mapping[str, str]) -> str | None:
    """Left alone beside an Azure endpoint: LangChain's Azure classes refuse to go with a second address."""
    return None if not value and environ.get(_AZURE_ENDPOINT, "").strip() else value


def _openai_host(value: str, environ: Mapping[str, str]) -> str | None:
    """The host of goose, to which it joins OPENAI_BASE_PATH, or else ``v1/chat/completions``.

    It goes before OPENAI_BASE_URL, so that it must not name another host than that. Where that holds more than a host
    and a version it is left alone: goose then takes OPENAI_BASE_URL, which points at the shim, too.
    """
    if value and "://" not in value:
        # No address: some programs choose their provider by this name.
        return None
    if value:
        # An absolute path takes the place of the host's own.
        absolute = environ.get(_BASE_PATH, "").startswith("/")
        return _origin(_split(value, named="OPENAI_HOST")) if absolute else value
    base_url = environ.get(_BASE_URL, "").strip()
    if not base_url:
        return ""
    try:
        base = _split(base_url, named=_BASE_URL)
    except MountError:
        return None  # who reads that variable has said so, unless --upstream takes its place
    path = base.path.rstrip("/")
    if base.query or not path.endswith(_VERSION):
        return None
    return base._replace(path=path.removesuffix(_VERSION)).geturl()


def _relative_base_path(environ: Mapping[str, str]) -> dict[str, str]:
    """The path of goose without its leading slash, with which it would lose the mount."""
    path = environ.get(_BASE_PATH, "")
    return {_BASE_PATH: path.lstrip("/")} if path.startswith("/") else {}


def _ollama_host(value: str, environ: Mapping[str, str]) -> str:
    """The base URL that Ollama's clients make of OLLAMA_HOST: ``host``, ``host:port``, ``:port``, or a whole URL.

    An address to listen on at every interface is one to call on the loopback.
    """
    del environ
    text = value.strip("\"' ")
    scheme, has_scheme, rest = text.rpartition("://")
    if not text or text == "ollama.com":
        return f"https://{text}" if text else ""
    address, slash, path = rest.partition("/")
    if address.count(":") > 1 and "[" not in address:
        address = f"[{address}]"
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = address, ""
    if not port and not has_scheme:
        port = _OLLAMA_PORT
    host = _LISTENING.get(host, host)
    return f"{scheme or 'http'}://{host}{':' if port else ''}{port}{slash}{path}"


# How the variables are read whose values are no plain base URLs, or that stand in relation to others.
_READERS: dict[str, Callable[[str, Mapping[str, str]], str | None]] = {
    "OLLAMA_HOST": _ollama_host,
    "OPENAI_API_BASE": _openai_api_base,
    _BASE_URL: _openai_base_url,
    "OPENAI_HOST": _openai_host,
}


def _override_for(family: Family, own_url: str, override: SplitResult) -> tuple[SplitResult, bool]:
    """What stands for a family's base URL on the host that ``--upstream`` names, and whether the child's is bare."""
    path = override.path.rstrip("/")
    bare = family.bare and (not path or path.endswith(_VERSION))
    if bare or _split(family.default_url or own_url, named=family.variables[0]).path.strip("/"):
        path = path or _VERSION
    else:
        # These readers append the version themselves.
        path = path.removesuffix(_VERSION)
    return override._replace(path=path), bare


def _mount_name(family: Family, variable: str, target: str, upstreams: Mapping[str, str]) -> str:
    """The family's name, or the variable's where two variables of a family name different hosts."""
    if upstreams.get(family.name, target) == target:
        return family.name
    return variable.lower()


def _child_url(port: int, mount: str, base: SplitResult) -> str:
    """The shim's address under which the child finds ``base``. User and query stay, for the child sends them."""
    user, at, _ = base.netloc.rpartition("@")
    return base._replace(scheme="http", netloc=f"{user}{at}{_LOOPBACK}:{port}", path=f"{mount}{base.path}").geturl()


def _past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep a child with an HTTP proxy from sending its requests to the shim through that."""
    if not any(environ.get(variable) for variable in _PROXY_VARIABLES):
        return {}
    updates = {}
    for variable, other in zip(_NO_PROXY_VARIABLES, reversed(_NO_PROXY_VARIABLES), strict=True):
        # Readers take one spelling before the other, so that one that is new says what the other says.
        given = environ.get(variable) or environ.get(other, "")
        hosts = [host.strip() for host in given.split(",") if host.strip()]
        if _LOOPBACK not in hosts and "*" not in hosts:
            updates[variable] = ",".join((*hosts, _LOOPBACK))
        elif given and variable not in environ:
            updates[variable] = given
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
