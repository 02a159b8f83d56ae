"""Who may use a gateway: its tokens, as digests, and the tenants that they stand for. Pure.

The rule: a token itself is in nothing that is made here, neither in the book nor in an error.

A file of tokens has one a line, with its tenant's name before it or without. Behind it may stand ``run=NAME``, which
binds the token to one run, ``max-runs=N``, and any limit by the name of its flag (``max-cost=50``); those two kinds
are the tenant's, wherever they stand. Lines that are empty or begin with ``#`` count for nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace
from typing import Any

import msgspec

from leash.governance import PARSERS, Governance, parse_count
from leash.names import check_name_part

# Below it a token can be guessed by somebody who tries; above it, it is no token but a pasted file.
_FEWEST_CHARACTERS = 8
_ADVISED_CHARACTERS = 16
_MOST_CHARACTERS = 512

# Of the digest that names an unnamed token's tenant: 48 bits, which never meet by chance in one file.
_TENANT_DIGITS = 12

# As in leash.names, where an error shows the name.
_MOST_NAME_CHARACTERS = 118

# What may stand behind a token.
_OPTIONS = ("run", "max-runs", *PARSERS)

_TOKEN = re.compile(rf"[!-~]{{{_FEWEST_CHARACTERS},{_MOST_CHARACTERS}}}")
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*):\s*(.*)")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token: ``digest`` is its SHA-256 in hex. ``run`` is the only run that it may use; empty for any."""

    digest: str
    tenant: str
    run: str = ""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant has of its own: limits in place of the gateway's, and how many runs it may ever open (0: any)."""

    limits: Governance = Governance()
    max_runs: int = 0


class TokenBook(msgspec.Struct, frozen=True, kw_only=True):
    """Every token of a gateway, and those of its tenants that have something of their own, by name."""

    tokens: tuple[Token, ...]
    tenants: dict[str, Tenant]


class TokenTable:
    """The tokens of a book by their digests, so that to find one takes as long for thousands as for one."""

    __slots__ = ("_by_digest",)

    def __init__(self, book: TokenBook) -> None:
        self._by_digest = {token.digest: token for token in book.tokens}

    def find(self, presented: str) -> Token | None:
        """The token that was presented, or None. The time that it takes tells nothing of the tokens.

        The table goes by a keyed hash of the digest, and the digest itself is compared in constant time.
        """
        digest = _digest(presented)
        token = self._by_digest.get(digest)
        return token if token is not None and hmac.compare_digest(token.digest, digest) else None


def matches(book: TokenBook, presented: str) -> Token | None:
    """The token that was presented, or None, for who asks seldom. Its time tells nothing of the tokens either."""
    return TokenTable(book).find(presented)


def single_token(text: str) -> TokenBook:
    """The book of one unnamed token. Raises ``ValueError``, without the token."""
    if _TOKEN.fullmatch(text) is None:
        raise ValueError(_RULE)
    digest = _digest(text)
    return TokenBook(tokens=(Token(digest=digest, tenant=_unnamed(digest)),), tenants={})


def is_short(text: str) -> bool:
    """Whether a token can be guessed by somebody who tries for long enough."""
    return len(text) < _ADVISED_CHARACTERS


def merged(*books: TokenBook) -> TokenBook:
    """One book of several, with each token once; the tenants of a later one replace those of an earlier one."""
    tokens = {token.digest: token for book in books for token in book.tokens}
    return TokenBook(
        tokens=tuple(tokens.values()), tenants={name: tenant for book in books for name, tenant in book.tenants.items()}
    )


def parse_tokens(text: str, *, source: str) -> tuple[TokenBook, list[str]]:
    """The book that a file of tokens holds, and warnings for the person.

    Raises ``ValueError`` with a sentence that names ``source`` and the line.
    """
    tokens: dict[str, Token] = {}
    options: dict[str, _Options] = {}
    warnings = []
    # Some editors begin a file with a mark of its encoding.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        where = f"{source}, line {number}"
        try:
            tenant, written, words = _split(stripped)
            digest = _digest(written)
            tenant = tenant or _unnamed(digest)
            run = options.setdefault(tenant, _Options()).take(words, where)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if digest in tokens:
            raise ValueError(f"{where}: the same token stands above already")
        tokens[digest] = Token(digest=digest, tenant=tenant, run=run)
        if is_short(written):
            warnings.append(f"{where}: a token of fewer than {_ADVISED_CHARACTERS} characters can be guessed")
    if not tokens:
        raise ValueError(f"{source} holds no token: write one a line, as NAME: TOKEN (`leashctl gen-token` makes one)")
    tenants = {name: own.tenant() for name, own in options.items() if own.given}
    return TokenBook(tokens=tuple(tokens.values()), tenants=tenants), warnings


_RULE = (
    f"a token has {_FEWEST_CHARACTERS} to {_MOST_CHARACTERS} visible ASCII characters and no blanks "
    "(`leashctl gen-token` makes one)"
)


class _Options:
    """What the lines of one tenant give it, each with where it stands."""

    def __init__(self) -> None:
        self.given: dict[str, tuple[str, Any, str]] = {}

    def take(self, words: list[str], where: str) -> str:
        """Takes the options of one line; returns the run that binds its token. Raises ``ValueError``."""
        run = ""
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                raise ValueError("what stands behind the token is no NAME=VALUE")
            if name == "run":
                run = check_name_part(value)
                continue
            parse = parse_count if name == "max-runs" else PARSERS.get(name)
            if parse is None:
                # It is not shown: a second token may end in an equals sign.
                raise ValueError(f"an option has another name than {', '.join(_OPTIONS)}")
            try:
                parsed = parse(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            before = self.given.setdefault(name, (value, parsed, where))
            if before[1] != parsed:
                raise ValueError(f"{name} is {before[0]} for the same tenant in {before[2]}")
        return run

    def tenant(self) -> Tenant:
        """The tenant with what it was given."""
        limits = {name.replace("-", "_"): parsed for name, (_, parsed, _) in self.given.items() if name in PARSERS}
        _, max_runs, _ = self.given.get("max-runs", ("", 0, ""))
        return Tenant(limits=replace(Governance(), **limits), max_runs=max_runs)


def _split(line: str) -> tuple[str, str, list[str]]:
    """The tenant's name on a line or nothing, the token, and the words behind it. Raises ``ValueError``."""
    tenant = ""
    if named := _NAMED.fullmatch(line):
        tenant, line = named[1], named[2]
        if len(tenant) > _MOST_NAME_CHARACTERS:
            # It is not shown: somebody may have written the token first.
            raise ValueError(f"the name before the colon has more than {_MOST_NAME_CHARACTERS} characters")
    token, *words = line.split() or [""]
    name, equals, _ = token.partition("=")
    if equals and name in _OPTIONS:
        raise ValueError(f"there is no token before {name}=")
    if _TOKEN.fullmatch(token) is None:
        raise ValueError(_RULE)
    return tenant, token, words


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _unnamed(digest: str) -> str:
    """The tenant of an unnamed token: a digest of the digest, which tells nothing of the one that is compared."""
    return hashlib.sha256(f"leash tenant {digest}".encode("ascii")).hexdigest()[:_TENANT_DIGITS]
