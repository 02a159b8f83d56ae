"""The configuration that a running daemon goes by, and how it is read again.

The rule: a file that is wrong in any place changes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
import structlog

from leashd.config import NEED_RESTART, Config, ConfigError
from leashd.logs import set_level
from leashd.retention import Retention
from leashd.standing import Standing

_log = structlog.get_logger("leashd.config")


class LiveConfig:
    """What is in force, and where it holds. ``reread`` reads it anew; None where there is nothing to read."""

    def __init__(
        self, config: Config, reread: Callable[[], Config] | None, standing: Standing, retention: Retention
    ) -> None:
        self._config = config
        self._reread = reread
        self._standing = standing
        self._retention = retention
        standing.set(config)
        retention.set(config.retention_ns)

    async def run(self) -> None:
        """Does what is configured to be done by itself."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._standing.run)
            tasks.start_soon(self._retention.run)

    async def reload(self) -> None:
        """Takes what has changed, and names what takes a restart."""
        if self._reread is None:
            return
        try:
            config = await anyio.to_thread.run_sync(self._reread)  # a large price table takes a second to read
        except ConfigError as error:
            for problem in error.problems:
                _log.error("config_refused", error=problem)
            return
        waits = [name for name in NEED_RESTART if getattr(config, name) != getattr(self._config, name)]
        if waits:
            _log.warning("config_needs_restart", settings=", ".join(waits))
        self._standing.set(config)
        self._retention.set(config.retention_ns)
        set_level(config.log_level or "info")
        _log.info("config_reloaded", path=str(config.path) if config.path else None)
