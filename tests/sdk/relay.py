"""Stands between a client and the shim, and writes down each request that crosses: ``relay.py LOG COMMAND…``.

It is the program that ``leashctl wrap`` starts. It starts the client with every address of the shim replaced by its
own, passes requests and answers on, and ends with the client's exit code. The log has a line of JSON for each request.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_LOG = Path(sys.argv[1])
_COMMAND = sys.argv[2:]
_SHIM = f"127.0.0.1:{urlsplit(os.environ['OPENAI_BASE_URL']).port}"
_OF_ONE_CONNECTION = ("connection", "transfer-encoding", "keep-alive")
_writing = threading.Lock()


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        shim = http.client.HTTPConnection(_SHIM, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_CONNECTION}
        shim.request(self.command, self.path, body=body, headers=kept | {"Content-Length": str(len(body))})
        answer = shim.getresponse()
        self._note(body, answer.status)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while part := answer.read1():
            self.wfile.write(part)
        shim.close()

    def do_GET(self) -> None:
        self.do_POST()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _note(self, body: bytes, status: int) -> None:
        asked = json.loads(body) if body else {}
        line = {
            "path": self.path,
            "user_agent": self.headers.get("User-Agent", ""),
            "streamed": bool(asked.get("stream")) or ":streamGenerateContent" in self.path,
            "status": status,
        }
        with _writing, _LOG.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def log_message(self, *_: object) -> None:
        pass


def main() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    own = f"127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environ = {name: value.replace(_SHIM, own) for name, value in os.environ.items()}
    return subprocess.run(_COMMAND, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
