"""A real headless Chromium, driven over its DevTools protocol: what a page looks like, says, and does when typed into.

As a program: ``python browser.py URL FILE.png [WIDTH HEIGHT [SECONDS [SCRIPT]]]`` takes a picture.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# A browser starts within seconds, and later on a busy machine.
WAIT_S = 30.0


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.told: list[str] = []  # what the page has complained of in its console
        self.asked_for: list[str] = []  # every address that it has asked for

    async def do(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(WAIT_S):
            while True:
                answer = await self._socket.receive_json()
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    return answer["result"]
                self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        match event["method"]:
            case "Log.entryAdded":
                self.told.append(event["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.told.append(str(event["params"]["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.asked_for.append(event["params"]["request"]["url"])

    async def open(
        self, url: str, *, width: int = 1280, height: int = 800, headers: dict[str, str] | None = None
    ) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.do(f"{domain}.enable")
        await self.do("Network.setExtraHTTPHeaders", headers=headers or {})
        await self.resize(width, height)
        await self.do("Page.navigate", url=url)
        await self.until("document.readyState !== 'loading'")

    async def resize(self, width: int, height: int) -> None:
        await self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def evaluate(self, script: str) -> Any:
        result = await self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script: str) -> None:
        """Waits until a script's value is true."""
        async with asyncio.timeout(WAIT_S):
            while not await self.evaluate(script):  # noqa: ASYNC110 (the event is in another process)
                await asyncio.sleep(0.1)

    async def type(self, text: str) -> None:
        await self.do("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        await self.do("Input.dispatchKeyEvent", type="keyDown", key=key, code=key)
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    async def picture(self, path: Path) -> None:
        data = base64.b64decode((await self.do("Page.captureScreenshot"))["data"])
        await asyncio.to_thread(path.write_bytes, data)


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A tab of a browser that is started for it, with a profile of its own."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="lb-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": profile},
        )
        try:
            async with asyncio.timeout(WAIT_S), aiohttp.ClientSession() as session:
                port = await _port(process)
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    [tab] = [each for each in await answer.json() if each["type"] == "page"]
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket,
            ):
                yield Page(socket)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    said = ""
    while line := (await process.stderr.readline()).decode(errors="replace"):
        said += line
        if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise AssertionError(f"the browser did not start: {said}")


async def _main(url: str, path: str, *more: str) -> None:
    width, height, seconds, script = (*more, *("1280", "800", "3", "0")[len(more) :])
    async with browser() as page:
        await page.open(url, width=int(width), height=int(height))
        await asyncio.sleep(float(seconds))
        print(await page.evaluate(script))
        await page.picture(Path(path))
        print(page.told)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
