"""Whose a run is, in a daemon that serves the whole host: its tenant is the user who opens it (DESIGN 4.5).

A user leaves the tenant out, and knows her runs by their bare names. Pure.
"""

from __future__ import annotations

from leash.names import check_name_part

_NAMELESS = "uid-"


class OtherTenantError(ValueError):
    """A run of a tenant for whom the caller may not act; the message says who may."""


def tenant_of(uid: int, user_name: str) -> str:
    """The tenant that a user is: the name, or the number where there is none that can be one."""
    nameless = f"{_NAMELESS}{uid}"
    if user_name.startswith(_NAMELESS):
        return nameless  # or a user of that name could be another's tenant
    try:
        return check_name_part(user_name)
    except ValueError:
        return nameless


class RunNames:
    """The names by which one session knows runs, and the full ones.

    ``tenant`` is what a bare name belongs to; empty in a user's own daemon, where every name is as it is given.
    ``every_tenant`` says that the session may name the runs of others too.
    """

    def __init__(self, tenant: str = "", *, every_tenant: bool = True) -> None:
        self._prefix = f"{tenant}/" if tenant else ""
        self.every_tenant = every_tenant
        self._bare: set[str] = set()

    def full(self, name: str) -> str:
        """The full name of a run. Raises OtherTenantError."""
        if "/" not in name:
            return self._prefix + name
        if not self.every_tenant and not name.startswith(self._prefix):
            raise OtherTenantError(
                f"run {name} is not of your tenant, {self._prefix[:-1]}: name it without a tenant, or let root, "
                "leashd's own user or a member of its admin group open it"
            )
        return name

    def opened(self, name: str) -> None:
        """The session has a run open, and calls it so from now on."""
        if "/" in name:
            self._bare.discard(name)
        elif self._prefix:
            self._bare.add(self.full(name))

    def closed(self, name: str) -> None:
        """The session has the run open no more."""
        self._bare.discard(self.full(name))

    def shown(self, full_name: str) -> str:
        """The run as the session calls it."""
        return full_name.removeprefix(self._prefix) if full_name in self._bare else full_name
