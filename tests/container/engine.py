"""A container engine as the tests use it, and where they find it. Nothing outlives an ``Engine`` but the image.

These tests need an engine, and are run by name: ``python -m pytest tests/container``. What an unusual host needs is
said by variables:

    LEASH_CONTAINER_ENGINE         the command; by default docker or podman, the first that works
    LEASH_CONTAINER_IMAGE          an image that is there already; by default one is built
    LEASH_CONTAINER_BUILD_OPTIONS  more options of `build`
    LEASH_CONTAINER_RUN_OPTIONS    more options of `run`
    LEASH_CONTAINER_NETWORK        `host` where there is no network between containers
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
from dataclasses import dataclass, field
from typing import Self

from tests.harness import REPOSITORY, wait_until

# Long enough for a build that fetches everything.
BUILD_S = 900
COMMAND_S = 120

# The container's own bound for an end in order, as compose.yaml has it.
STOP_S = 45


@dataclass(slots=True)
class Engine:
    """An engine with the image under test, and the containers and volumes that were made with it."""

    command: list[str]
    image: str
    run_options: list[str]
    network: str
    containers: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    @classmethod
    def found(cls) -> Self:
        """The engine that the environment names, or the first that works, with the image built."""
        named = os.environ.get("LEASH_CONTAINER_ENGINE", "")
        candidates = [shlex.split(named)] if named else [["docker"], ["podman"]]
        command = next((each for each in candidates if _works(each)), None)
        assert command is not None, f"none of these works: {candidates} (LEASH_CONTAINER_ENGINE names another)"
        image = os.environ.get("LEASH_CONTAINER_IMAGE", "")
        if not image:
            image = "leash:under-test"
            options = shlex.split(os.environ.get("LEASH_CONTAINER_BUILD_OPTIONS", ""))
            subprocess.run([*command, "build", "-t", image, *options, str(REPOSITORY)], check=True, timeout=BUILD_S)
        return cls(
            command=command,
            image=image,
            run_options=shlex.split(os.environ.get("LEASH_CONTAINER_RUN_OPTIONS", "")),
            network=os.environ.get("LEASH_CONTAINER_NETWORK", ""),
        )

    def __call__(self, *arguments: str, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command of the engine to its end."""
        done = subprocess.run(
            [*self.command, *arguments],
            check=False,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert not check or done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def run(self, *arguments: str, options: tuple[str, ...] = (), check: bool = True) -> str:
        """What the image says when it is run with these arguments, on stdout and stderr."""
        network = ("--network", self.network) if self.network else ()
        done = self("run", "--rm", *self.run_options, *network, *options, self.image, *arguments, check=check)
        return done.stdout + done.stderr

    def start(self, *arguments: str, options: tuple[str, ...] = (), beside: str = "") -> str:
        """Starts a container, in the network of the one that it is to stand beside; returns its name."""
        name = f"leash-test-{secrets.token_hex(4)}"
        network = self.network or (f"container:{beside}" if beside else "")
        self.containers.append(name)
        self(
            *("run", "--detach", "--name", name, *self.run_options),
            *(("--network", network) if network else ()),
            *(*options, self.image, *arguments),
        )
        return name

    def volume(self) -> str:
        """A volume of its own; returns its name."""
        name = f"leash-test-{secrets.token_hex(4)}"
        self("volume", "create", name)
        self.volumes.append(name)
        return name

    def stop(self, container: str) -> int:
        """Tells a container to end, as an engine does; its exit code."""
        self("stop", "-t", str(STOP_S), container)
        return int(self("inspect", "--format", "{{.State.ExitCode}}", container).stdout)

    def logs(self, container: str) -> str:
        """What a container has said so far."""
        done = self("logs", container)
        return done.stdout + done.stderr

    def until_said(self, container: str, what: str) -> None:
        """Waits until a container has said something."""
        wait_until(lambda: what in self.logs(container), f"{container} says {what!r}: {self.logs(container)}")

    def close(self) -> None:
        """Removes what was made."""
        if self.containers:
            self("rm", "--force", "--volumes", *self.containers, check=False)
        if self.volumes:
            self("volume", "rm", *self.volumes, check=False)
        self.containers.clear()
        self.volumes.clear()


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run([*command, "info"], check=False, capture_output=True, timeout=COMMAND_S).returncode == 0
    except OSError:
        return False
