"""The status page of the admin listener: one document, a style and a script, and the stream that keeps it live.

The rule: nothing on it comes from elsewhere, nothing of it acts, and a text of a run is never read as markup.
"""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from leash.live.rows import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash_shim.asgi import Message, Receive, Send
    from leash_shim.gateway.status_board import StatusBoard

# How often a page is told what has changed: a person reads no faster.
_EVERY_S = 1.0

# Without a change a comment is sent this often, so that proxies keep the connection, and a browser that has gone is
# noticed.
_SIGN_OF_LIFE_S = 15.0

# Pages that are kept live at a time; those beyond are told to come back. Of the admin listener's connections the
# probes and scrapes need the others.
MOST_STREAMS = 24

_HTML = b"text/html; charset=utf-8"
_FILES = {"/status.css": b"text/css; charset=utf-8", "/status.js": b"text/javascript; charset=utf-8"}

PATHS = ("/", *_FILES, "/status/events")

_SAFE = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

# Yellow from four fifths on, red once it is reached.
_BAR = 'min="0" max="1000" low="800" high="999" optimum="0" aria-hidden="true"'

_encoder = msgspec.json.Encoder()


class StatusPage:
    """Answers for ``PATHS``. ``leave`` ends the streams, so that the gateway can end."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._streams = 0
        self._leaving = anyio.Event()

    def leave(self) -> None:
        """Ends every stream, and lets none begin."""
        self._leaving.set()

    async def answer(
        self, scope: Message, receive: Receive, send: Send, *, tenant: str, is_welcome: Callable[[], bool]
    ) -> None:
        """Answers a GET or HEAD of one of ``PATHS`` by somebody who may see the runs of this tenant (empty: all).

        A stream ends once ``is_welcome`` says no: a token that is taken out of its file shows nothing more.
        """
        path: str = scope["path"]
        if path == "/status/events":
            await self._stream(receive, send, tenant, is_welcome, is_head=scope["method"] == "HEAD")
            return
        if path == "/":
            with self._board.looking():
                await self._board.first_picture()
                body, kind = self._document(tenant), _HTML
        else:
            body, kind = _file(path.removeprefix("/")), _FILES[path]
        await _whole(send, 200, kind, body, is_head=scope["method"] == "HEAD")

    def _document(self, tenant: str) -> bytes:
        titles = "".join(f'<th scope="col" title="{html.escape(what)}">{title}</th>' for title, _, what in COLUMNS)
        picture = self._board.picture(tenant)
        rows = "".join(_row_markup(cells) for cells in picture.rows)
        whose = f"runs of {tenant}" if tenant else "all runs"
        return (
            _file("status.html")
            .decode()
            .replace("{{titles}}", titles)
            .replace("{{summary}}", html.escape(picture.summary))
            .replace("{{whose}}", html.escape(whose))
            # Last: a run's texts come from outside.
            .replace("{{rows}}", rows)
            .encode()
        )

    async def _stream(
        self, receive: Receive, send: Send, tenant: str, is_welcome: Callable[[], bool], *, is_head: bool
    ) -> None:
        if self._streams >= MOST_STREAMS or self._leaving.is_set():
            body = b"too many pages are open: this one is tried again"
            await _whole(send, 503, b"text/plain; charset=utf-8", body, is_head=is_head)
            return
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), *_SAFE]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if is_head:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._streams += 1
        try:
            with self._board.looking():
                async with anyio.create_task_group() as group:
                    group.start_soon(_until_gone, receive, group.cancel_scope)
                    await self._board.first_picture()
                    await self._tell(send, tenant, is_welcome)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    group.cancel_scope.cancel()
        finally:
            self._streams -= 1

    async def _tell(self, send: Send, tenant: str, is_welcome: Callable[[], bool]) -> None:
        """Sends what has changed, again and again, until the gateway leaves."""
        known: dict[str, list[Any]] = {}
        silent_s = 0.0
        told_summary = told_trouble = None
        while not self._leaving.is_set() and is_welcome():
            picture = self._board.picture(tenant)
            now = {cells[0]: cells for cells in picture.rows}
            event = {
                "rows": [cells for name, cells in now.items() if known.get(name) != cells],
                "gone": [name for name in known if name not in now],
                "summary": picture.summary,
                "trouble": picture.trouble,
            }
            is_news = event["rows"] or event["gone"] or event["summary"] != told_summary
            if is_news or event["trouble"] != told_trouble:
                told_summary, told_trouble, known, silent_s = event["summary"], event["trouble"], now, 0.0
                await _part(send, b"data: " + _encoder.encode(event) + b"\n\n")
            elif silent_s >= _SIGN_OF_LIFE_S:
                silent_s = 0.0
                await _part(send, b": here\n\n")
            with anyio.move_on_after(_EVERY_S):
                await self._leaving.wait()
            silent_s += _EVERY_S


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _row_markup(cells: list[Any]) -> str:
    """A row as the script makes it too."""
    *texts, bar = cells
    shown = []
    for (title, field, _), text in zip(COLUMNS, texts, strict=True):
        inside = html.escape(text)
        if field == "run":
            shown.append(f'<th scope="row">{inside}</th>')
            continue
        if field == "used_ppm" and bar >= 0:
            inside = f'<meter {_BAR} value="{bar}"></meter> {inside}'
        shown.append(f'<td class="{field}" data-title="{title}">{inside}</td>')
    return f'<tr class="{html.escape(texts[1])}" data-run="{html.escape(texts[0])}">{"".join(shown)}</tr>'


@cache
def _file(name: str) -> bytes:
    return (Path(__file__).parent / "page" / name).read_bytes()


async def _part(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _whole(send: Send, status: int, kind: bytes, body: bytes, *, is_head: bool) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode("ascii")), *_SAFE]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body, "more_body": False})
