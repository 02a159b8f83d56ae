"""An endpoint for webhooks in a process of its own: ``receiver.py PORT FILE KEY-FILE``. It shares no code with leash.

It checks each signature with the official library of Standard Webhooks, and writes a line of JSON for each request.
What it answers is the first part of the path: a status, ``slow`` (after half a second), ``hang`` (never), ``trickle``
(a body without an end), or ``moved`` (a redirect to /200).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_FILE, _KEY_FILE = Path(sys.argv[2]), Path(sys.argv[3])
_writing = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Checks it, writes it down, answers it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            told = Webhook(_KEY_FILE.read_text().strip()).verify(body, dict(self.headers))
            is_signed = True
        except (WebhookVerificationError, FileNotFoundError):
            told, is_signed = json.loads(body), False
        record = {
            "path": self.path,
            "signed": is_signed,
            "id": self.headers["webhook-id"],
            "told": told,
            "body": body.decode(),
            "at_s": time.monotonic(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        with _writing, _FILE.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._answer(self.path.split("/")[1])

    def _answer(self, how: str) -> None:
        if how == "hang":
            time.sleep(3_600)
        if how == "slow":
            time.sleep(0.5)
        self.send_response(int(how) if how.isdecimal() else 302 if how == "moved" else 200)
        if how == "moved":
            self.send_header("Location", "/200/moved")
        if how != "trickle":
            self.send_header("Content-Length", "0")
        self.end_headers()
        while how == "trickle":
            self.wfile.write(b"x" * 1024)
            self.wfile.flush()
            time.sleep(0.01)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Which clients may leave."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(server.server_address[1], flush=True)
    server.serve_forever()
