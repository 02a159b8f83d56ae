"""The status page and a report in a real Chromium: what is on them, that they stay live, and that nothing is wrong.

They are left out unless they are asked for: a browser is no small thing to install.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.view.browser import CHROMIUM, browser
from tests.e2e.view.test_status_page import BOUND, TOKENS, basic, call, gateway, with_tokens
from tests.e2e.view.test_watch import run
from tests.harness import FakeProvider, Workspace

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]

CELLS = (
    "[...document.querySelectorAll('#runs tr:not([hidden])')].map(r => [...r.children].map(c => c.textContent.trim()))"
)
WIDE = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_page_is_live_and_usable_by_keyboard(workspace: Workspace) -> None:
    served = await asyncio.to_thread(gateway, workspace, "--insecure")
    await asyncio.to_thread(call, served, "first")
    async with browser() as page:
        await page.open(f"{served.admin}/")
        await page.until("document.getElementById('state').textContent === 'live'")
        for _ in range(5):
            await asyncio.to_thread(call, served, "first")
        await asyncio.to_thread(call, served, "second")
        await page.until("document.querySelectorAll('#runs tr').length === 2")
        await page.until("document.querySelector('[data-run=first]').className === 'stopped'")
        rows = await page.evaluate(CELLS)
        assert [row[0] for row in rows] == ["first", "second"]
        assert rows[0][1:5] == ["stopped", "$0.10", "$0.10", "100%"]
        assert rows[0][13] == "cost_budget"

        # By the keyboard alone, from the top of the page.
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "filter"
        await page.type("second")
        await page.until("document.querySelectorAll('#runs tr:not([hidden])').length === 1")
        await page.type(" none")
        await page.until("!document.getElementById('empty').hidden")
        await page.evaluate("document.getElementById('filter').value = ''")
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "sort"

        # On a phone nothing has to be scrolled sideways.
        await page.resize(360, 740)
        assert await page.evaluate(WIDE)
        assert page.told == []
        assert {url.removeprefix(served.admin) for url in page.asked_for if not url.startswith("data:")} == {
            *("/", "/status.css", "/status.js", "/status/events"),
        }

        await asyncio.to_thread(served.stop)
        await page.until("document.getElementById('state').className === 'away'")
        assert await page.evaluate("document.querySelectorAll('#runs tr').length") == 2


async def test_a_password_lets_in_and_shows_ones_own(workspace: Workspace) -> None:
    served = await asyncio.to_thread(with_tokens, workspace)
    await asyncio.to_thread(call, served, "mine", TOKENS["team-a"])
    await asyncio.to_thread(call, served, "theirs", TOKENS["team-b"])
    async with browser() as page:
        await page.open(f"{served.admin}/", headers=basic(BOUND))
        assert await page.evaluate("document.getElementById('runs')") is None
        await page.open(f"{served.admin}/", headers=basic(TOKENS["team-a"]))
        await page.until("document.getElementById('state').textContent === 'live'")
        assert [row[0] for row in await page.evaluate(CELLS)] == ["team-a/mine"]


async def test_a_report_is_drawn_without_a_network(
    workspace: Workspace, fake_provider: Callable[..., FakeProvider]
) -> None:
    provider = await asyncio.to_thread(fake_provider)
    await asyncio.to_thread(run, workspace, provider, "nightly", "--max-cost", "0.09", calls=6)
    for arguments in (("report", "nightly"), ("report", "--db", str(workspace.ledger))):
        answer = await asyncio.to_thread(workspace.leashctl, *arguments)
        assert answer.returncode == 0, answer.stderr
        path = workspace.root / answer.stdout.strip()
        async with browser() as page:
            await page.open(path.as_uri())
            assert await page.evaluate("document.querySelector('svg.chart').getBoundingClientRect().height") > 100
            assert "nightly" in await page.evaluate("document.body.innerText")
            for width in (1200, 360):
                await page.resize(width, 800)
                assert await page.evaluate(WIDE), width
            assert page.told == []
            assert page.asked_for == [path.as_uri()]
