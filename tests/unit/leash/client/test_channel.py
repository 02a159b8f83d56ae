"""What importing gRPC does to the process around it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import os, subprocess
from pathlib import Path
from leash.client.channel import grpc, open_channel
import asyncio

async def main():
    channel = open_channel(Path("/nonexistent/leashd.sock"))
    try:
        await channel.unary_unary("/a/b")(b"", timeout=5)
    except grpc.aio.AioRpcError:
        pass
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    await channel.close(grace=None)

asyncio.run(main())
print(subprocess.run(["env"], capture_output=True, text=True).stdout)
"""


@pytest.mark.parametrize("verbosity", [None, "ERROR"])
def test_grpc_is_quiet_and_leaves_the_environment_as_it_was(verbosity: str | None) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    if verbosity is not None:
        environ["GRPC_VERBOSITY"] = verbosity
    done = subprocess.run([sys.executable, "-c", _SCRIPT], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    inherited = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert inherited.get("GRPC_VERBOSITY") == verbosity
