"""What stands in the access log, and what cannot."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leash_shim.gateway.access import AccessLog
from leash_shim.observer import Exchange

PATIENCE_S = 10.0

# A pipe has room for some hundred, and ten thousand wait beside it.
MORE_LINES_THAN_FIT = 12_000


def exchange(**changes: Any) -> Exchange:
    fields: dict[str, Any] = {
        "request_id": b"\x01" * 16,
        "method": "POST",
        "path": "/v1/chat/completions",
        "started_ns": 1_000_000_000,
        "ended_ns": 1_012_345_678,
        "client": "10.0.0.7",
        "client_request_id": "theirs-1",
        "run": "team-a/nightly",
        "provider": "openai",
        "decision": "refused",
        "reason": "cost_budget",
        "status": 429,
        "received_bytes": 66,
        "sent_bytes": 314,
    }
    return Exchange(**fields | changes)


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., list[str]]:
    """The lines of exchanges in a log of this form."""

    def lines(form: str, *exchanges: Exchange) -> list[str]:
        path = tmp_path / "access.log"
        with path.open("w") as stream:
            log = AccessLog(form, stream)
            for each in exchanges:
                log.ended(each)
            log.close()
        return path.read_text().splitlines()

    return lines


def wait_for(reached: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not reached() and time.monotonic() < end_s:
        time.sleep(0.005)


class Pipe:
    """A log that goes into a pipe, of which somebody reads as it pleases them."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")
        self.log = AccessLog("text", self.stream)

    def read_all(self) -> list[str]:
        """What is read until the log is closed."""
        closing = threading.Thread(target=self._close)
        closing.start()
        with os.fdopen(self.reader) as stream:
            lines = stream.read().splitlines()
        closing.join()
        return lines

    def _close(self) -> None:
        self.log.close()
        self.stream.close()


def test_a_line_of_text(logged: Callable[..., list[str]]) -> None:
    [line] = logged("text", exchange())

    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 10\.0\.0\.7 POST /v1/chat/completions 429 12\.3ms 66/314B "
        rf"run=team-a/nightly provider=openai refused cost_budget id={'01' * 16} client_id=theirs-1",
        line,
    )


def test_what_is_not_known_is_a_dash(logged: Callable[..., list[str]]) -> None:
    [line] = logged("text", exchange(client="", run="", provider="", decision="", reason="", status=0, path=""))

    assert " - POST - - " in line
    assert "run=- provider=- - id=" in line


def test_an_object_a_line(logged: Callable[..., list[str]]) -> None:
    [line] = logged("json", exchange())
    record = json.loads(line)

    assert record.pop("time").endswith("Z")
    assert record == {
        "request_id": "01" * 16,
        "client_request_id": "theirs-1",
        "client": "10.0.0.7",
        "method": "POST",
        "path": "/v1/chat/completions",
        "run": "team-a/nightly",
        "provider": "openai",
        "decision": "refused",
        "reason": "cost_budget",
        "status": 429,
        "milliseconds": 12.3,
        "received_bytes": 66,
        "sent_bytes": 314,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_makes_a_second_line_or_a_second_column(logged: Callable[..., list[str]], form: str) -> None:
    made_up = exchange(path="/v1/\n127.0.0.1 GET /x 200\x1b[2J\x00ä", method="GET\n/ 2")
    lines = logged(form, made_up, exchange())

    assert len(lines) == 2
    assert "GET%0A/%202" in lines[0]
    assert "/v1/%0A127.0.0.1%20GET%20/x%20200%1B[2J%00%E4" in lines[0]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_is_shorter_than_what_a_pipe_takes_at_once(logged: Callable[..., list[str]], form: str) -> None:
    [line] = logged(form, exchange(path="/" + "x" * 10_000, method="M" * 10_000, run="t" * 118 + "/" + "r" * 118))

    assert len(line.encode()) < 4096
    assert "x…" in line


def test_who_reads_slowly_holds_nobody_up_and_is_told_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    pipe = Pipe()
    with caplog.at_level(logging.WARNING):
        for _ in range(MORE_LINES_THAN_FIT):
            pipe.log.ended(exchange())
        lines = pipe.read_all()

    assert {line.partition(" ")[2] for line in lines} == {lines[0].partition(" ")[2]}, "no line is mixed with another"
    assert 10_000 <= len(lines) < MORE_LINES_THAN_FIT
    assert caplog.messages == [
        f"the access log lacks {MORE_LINES_THAN_FIT - len(lines)} lines: it is read too slowly",
    ]


def test_a_pipe_that_does_not_wait_is_waited_for() -> None:
    pipe = Pipe()
    os.set_blocking(pipe.stream.fileno(), False)
    for _ in range(1_000):
        pipe.log.ended(exchange())

    assert len(pipe.read_all()) == 1_000


def test_a_reader_that_has_gone_ends_the_log_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    pipe = Pipe()
    os.close(pipe.reader)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            pipe.log.ended(exchange())
        pipe.log.close()
    pipe.stream.close()

    assert caplog.messages == ["the access log ends: nobody reads it any more"]


def test_a_full_disk_costs_lines_which_are_told_at_once_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with Path("/dev/full").open("w") as stream:
        log = AccessLog("text", stream)
        with caplog.at_level(logging.WARNING):
            for count in (1, 100):
                for _ in range(count):
                    log.ended(exchange())
                if count == 1:
                    wait_for(lambda: bool(caplog.messages))
            log.close()

    assert caplog.messages == [
        "the access log lacks 1 lines: No space left on device",
        "the access log lacks 100 lines: No space left on device",
    ]
