"""leash's services as systemd finds them: which files they are, where each goes, and what has to be done about it.

The rule: the units are the package's, and are replaced; the settings are the administrator's, and never are.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from leash.programs import is_frozen
from leashctl import DISTRIBUTION
from leashctl.failure import Failure
from leashctl.installation import program, shared_files, why_not_for_services
from leashctl.new_file import replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Where systemd looks for units. Below any other prefix files are only put, for somebody else to carry there.
_SYSTEM_PREFIXES = (Path("/usr"), Path("/usr/local"))

_SETTINGS = Path("etc/leash")
_SOCKETS = Path("/run/leash")
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)

# The units as systemctl takes them; what is in the way of the daemon's end goes first.
_UNITS = ("leash-gateway.socket", "leash-gateway.service", "leash-shim@.service", "leashd.service")
_RUNNING = ("leash-gateway.socket", "leash-gateway.service", "leash-shim@*.service", "leashd.service")

# A gateway's calls get a minute to end, and the daemon half of one.
_STOP_TIMEOUT_S = 150.0

# What the units in the package run. A distribution's package has the programs there.
_PACKAGED_PROGRAM = re.compile(r"^(ExecStart=)/usr/bin/(leashd|leashctl)\b", re.MULTILINE)

# systemd.service(5), "COMMAND LINES": what needs no quotes.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9@%_+=:,./-]+", re.ASCII)

_TOKENS = """\
# Who may use the gateway: one token a line, with its tenant before it (docs/gateway.md).
# `systemctl restart leash-gateway` takes what has changed.
first: {token}
"""


class Services:
    """The services below one prefix. Each method says a line for all that it has done, and raises ``Failure``."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._is_of_host = prefix in _SYSTEM_PREFIXES
        self._root = Path("/") if self._is_of_host else prefix
        self._source = shared_files() / "systemd"

    def installed(self) -> Iterator[str]:
        """Puts everything in place."""
        self._check()
        if self._is_of_host and (reason := why_not_for_services()):
            raise Failure(f"leash cannot be a service from where it is installed: {reason}. {_instead()}")
        try:
            for source, target in self._files():
                content = _with_programs(source.read_text(encoding="utf-8"))
                yield f"{target}: {_put(target, content, 0o644)}"
            if self._is_of_host:
                _run("systemd-sysusers", str(self._prefix / "lib/sysusers.d/leash.conf"))
                yield "users and groups: leash, leash-gateway, leash-shim; leash, leash-admin"
                _run("systemd-tmpfiles", "--create", str(self._prefix / "lib/tmpfiles.d/leash.conf"))
                yield "directories: /etc/leash, /var/lib/leash, /run/leash"
            for target, content, mode in self._settings():
                kept = os.path.lexists(target)  # also a link to what is not mounted now
                yield f"{target}: {'kept as it is' if kept else _put(target, content, mode)}"
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}") from error
        if self._is_of_host:
            if _BOOTED.is_dir():
                _run("systemctl", "daemon-reload")
            yield from _what_is_next()

    def removed(self) -> Iterator[str]:
        """Stops the services and takes their files away. The ledger, and settings that were changed, stay."""
        self._check()
        there = [target for _, target in self._files() if target.exists()]
        if not there:
            yield f"no unit of leash is below {self._prefix}"
        elif self._is_of_host and _BOOTED.is_dir():
            yield f"stopped and disabled: {', '.join(_stopped(target.name for target in there))}"
        try:
            for target in there:
                target.unlink()
                yield f"{target}: removed"
            for target in self._unchanged_settings():
                target.unlink()
                yield f"{target}: removed"
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}") from error
        settings = self._root / _SETTINGS
        for directory in (settings / "credentials", settings):
            with suppress(OSError):
                directory.rmdir()
        if self._is_of_host:
            if there:  # else it may be that of a daemon that somebody has started by hand
                shutil.rmtree(_SOCKETS, ignore_errors=True)
            if _BOOTED.is_dir():
                _run("systemctl", "daemon-reload")
            kept = [str(path) for path in (settings, Path("/var/lib/leash")) if path.exists()]
            yield f"kept: {', '.join([*kept, 'the users and the groups'])}"

    def _check(self) -> None:
        if not self._source.is_dir():
            raise Failure(
                f"this installation has no units in {self._source}: install leash again "
                f"(`pip install --force-reinstall {DISTRIBUTION}`)"
            )
        if self._is_of_host and os.geteuid() != 0:
            raise Failure(
                f"services of this host are root's to install: `sudo {shlex.join(program('leashctl'))} "
                "install-systemd` (--prefix DIR puts the files elsewhere)"
            )

    def _files(self) -> list[tuple[Path, Path]]:
        """Each of the package's files, and where it goes."""
        library = self._prefix / "lib"
        units = sorted((*self._source.glob("*.service"), *self._source.glob("*.socket")))
        others = [self._source / name for name in ("sysusers.d/leash.conf", "tmpfiles.d/leash.conf")]
        return [
            *((unit, library / "systemd" / "system" / unit.name) for unit in units),
            *((other, library / other.parent.name / other.name) for other in others),
        ]

    def _unchanged_settings(self) -> list[Path]:
        """The files of settings that are as they were put; tokens never are."""
        return [
            target
            for target, content, _ in self._settings()
            if target.exists() and target.read_bytes() == content.encode()
        ]

    def _settings(self) -> Iterator[tuple[Path, str, int]]:
        """Each file of settings as it is at first, and its mode. Those that may hold a secret are root's alone."""
        directory = self._root / _SETTINGS
        for source in sorted((self._source / "etc").iterdir()):
            mode = 0o644 if source.name == "leashd.toml" else 0o600
            yield directory / source.name, source.read_text(encoding="utf-8"), mode
        if self._is_of_host:  # a secret is each host's own
            yield directory / "gateway.tokens", _TOKENS.format(token=secrets.token_urlsafe(32)), 0o600


def _stopped(files: Iterable[str]) -> list[str]:
    """Stops and disables the units among these files; which those were."""
    names = {*files}
    known = [unit for unit in _UNITS if unit in names]
    _run("systemctl", "stop", *(unit for unit in _RUNNING if unit.replace("*", "") in names))
    _run("systemctl", "--no-reload", "disable", *known)
    return known


def _put(target: Path, content: str, mode: int) -> str:
    """Writes a file, whole or not at all; what that was."""
    _make_directory(target.parent)
    was_there = target.exists()
    if was_there and target.read_bytes() == content.encode():
        return "unchanged"
    with replaced(target) as file:
        file.write(content.encode())
        os.fchmod(file.fileno(), mode)
    return "replaced" if was_there else "installed"


def _make_directory(path: Path) -> None:
    """Makes a directory, and those above it, that everybody may read: whatever umask root has."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _with_programs(text: str) -> str:
    """A unit with the programs of this installation in it."""
    return _PACKAGED_PROGRAM.sub(lambda found: found[1] + " ".join(map(_word, program(found[2]))), text)


def _word(word: str) -> str:
    """One word of a command line, as systemd reads it."""
    word = word.replace("%", "%%")
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (systemd's own programs, by name)
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_STOP_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise Failure(f"there is no {command[0]}: a host without systemd has no use for these units") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"`{shlex.join(command)}` has not ended in {_STOP_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise Failure(f"`{shlex.join(command)}` failed: {done.stderr.strip() or f'exit code {done.returncode}'}")


def _what_is_next() -> Iterator[str]:
    yield ""
    yield "next:"
    if _BOOTED.is_dir() and _is_active("leashd.service"):
        yield "  systemctl restart leashd              # the one that runs is the one from before"
    else:
        yield "  systemctl enable --now leashd"
    yield "  usermod -aG leash USER                # may run agents; logs in again for it"
    yield "  usermod -aG leash-admin USER          # may see every run, kill and raise"
    yield "  systemctl enable --now leash-gateway  # one address for many agents: /etc/leash/gateway.env"
    if shutil.which("leashctl", path="/usr/local/bin:/usr/bin:/bin") is None:
        programs = " ".join(str(Path(program("leashctl")[0]).with_name(name)) for name in ("leash", "leashctl"))
        yield f"  ln -s {programs} /usr/local/bin/   # so that users find it"


def _is_active(unit: str) -> bool:
    return subprocess.run(("systemctl", "is-active", "--quiet", unit), check=False).returncode == 0  # noqa: S603, S607


def _instead() -> str:
    """What to do where leash is installed for one user alone."""
    if is_frozen():
        artefact = os.environ.get("LEASH_ARTEFACT", sys.executable)
        return f"Unpack it where they do: `LEASH_UNPACK_DIR=/opt/leash {artefact} install-systemd`"
    return (
        "Install it for the whole host, with a Python that is the host's, and run this again from there:\n"
        f"  /usr/bin/python3 -m venv /opt/leash && /opt/leash/bin/pip install {DISTRIBUTION}\n"
        "  /opt/leash/bin/leashctl install-systemd"
    )
