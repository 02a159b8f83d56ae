"""What ``healthcheck`` makes of an admin listener's answer."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from leashctl.healthcheck import _local_url, healthcheck


@pytest.fixture
def admin() -> Iterator[http.server.HTTPServer]:
    """An admin listener that says what its ``answer`` is."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self.server.answer  # type: ignore[attr-defined]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ((200, b"ready\n"), 0, "ready\n"),
        ((503, b"draining\n"), 1, "leash: not ready: draining\n"),
        ((503, b""), 1, "leash: not ready: 503\n"),
    ],
)
def test_it_tells_what_the_gateway_says(
    admin: http.server.HTTPServer, answer: tuple[int, bytes], code: int, said: str
) -> None:
    admin.answer = answer  # type: ignore[attr-defined]
    result = CliRunner().invoke(healthcheck, ["--url", f"http://127.0.0.1:{admin.server_port}/readyz"])
    assert (result.exit_code, result.output) == (code, said)


def test_a_gateway_that_is_not_there_is_not_ready(admin: http.server.HTTPServer) -> None:
    url = f"http://127.0.0.1:{admin.server_port}"
    admin.socket.close()
    result = CliRunner().invoke(healthcheck, ["--url", url])
    assert result.exit_code == 1
    assert result.output.startswith(f"leash: not ready: {url} does not answer: ")


@pytest.mark.parametrize("url", ["127.0.0.1:8089", "http://", "ftp://host/readyz", "http://host:port/"])
def test_what_is_no_url_is_a_mistake(url: str) -> None:
    result = CliRunner().invoke(healthcheck, ["--url", url])
    assert result.exit_code == 2
    assert "is no URL" in result.output


@pytest.mark.parametrize(
    ("admin_address", "url"),
    [
        ("", "http://127.0.0.1:8089/readyz"),
        (":9000", "http://127.0.0.1:9000/readyz"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000/readyz"),
        ("[::]:9000", "http://127.0.0.1:9000/readyz"),
        ("10.1.2.3:9000", "http://10.1.2.3:9000/readyz"),
        ("[::1]:9000", "http://[::1]:9000/readyz"),
    ],
)
def test_without_a_url_it_asks_where_this_hosts_gateway_is(admin_address: str, url: str) -> None:
    assert _local_url(admin_address) == url
