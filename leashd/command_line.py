"""What leashd was started with: flags and variables over the configuration file over the built-in values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from leash.sockets import SYSTEM_LEDGER, SYSTEM_SOCKET, control_socket_for
from leashd.access import ADMIN_GROUP, GROUP, USER_ACCESS, Access, system_access
from leashd.config import SYSTEM_CONFIG, Config, ConfigError, read_config
from leashd.daemon import DaemonSettings

_NEEDED = ("ledger", "socket")
_MISSING = (
    "no {name}: name it with --{name} or in a configuration file, or serve the whole host with --system, which has one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One command line; ``flags`` are those that the configuration has too, None where they are not given."""

    config_path: Path | None
    system: bool
    idle_exit_s: float
    flags: Mapping[str, Any]

    def config(self, known: Path | None = None) -> Config:
        """Reads the configuration file, if there is one, and puts the flags over it. Raises ConfigError.

        ``known`` is the file that was read before: where it is gone, its limits are not to be gone as well.
        """
        path = known or self._path()
        config = read_config(path) if path is not None else Config()
        given = {name: value for name, value in self.flags.items() if value is not None}
        builtin: dict[str, Any] = {"ledger": SYSTEM_LEDGER, "socket": SYSTEM_SOCKET} if self.system else {}
        config = replace(config, **given)
        return replace(config, **{name: value for name, value in builtin.items() if getattr(config, name) is None})

    def settings(self, config: Config) -> DaemonSettings:
        """What the daemon is made of. Raises ConfigError for what is missing, and AccessError."""
        if config.ledger is None or config.socket is None:
            raise ConfigError([_MISSING.format(name=name) for name in _NEEDED if getattr(config, name) is None])
        socket = config.socket.absolute()
        return DaemonSettings(
            ledger=config.ledger.resolve(),
            socket=socket,
            control_socket=config.control_socket.absolute() if config.control_socket else control_socket_for(socket),
            idle_exit_s=self.idle_exit_s,
            system=self.system,
            access=self.access(config),
            config=config,
            reread=partial(self.config, config.path) if config.path is not None or self.system else None,
        )

    def access(self, config: Config) -> Access:
        """Who may open the sockets. Raises AccessError, and ConfigError for groups of a daemon that has none."""
        if self.system:
            return system_access(config.group or GROUP, config.admin_group or ADMIN_GROUP)
        if config.group or config.admin_group:
            raise ConfigError(["a group and an admin group go with --system: else the sockets are their user's own"])
        return USER_ACCESS

    def _path(self) -> Path | None:
        if self.config_path is not None:
            return self.config_path.absolute()
        return SYSTEM_CONFIG if self.system and _has_name(SYSTEM_CONFIG) else None


def _has_name(path: Path) -> bool:
    """Whether there is something of this name, and be it one that cannot be read: reading it says why."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
