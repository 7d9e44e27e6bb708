"""A server of S3 between a client and a real one: it hands every call on, but misbehaves.

``python s3_proxy.py UPSTREAM --port N --careless`` ignores conditions: whatever it is told not to
overwrite, it overwrites. ``--hold PATH FOLDER`` keeps a PUT whose path holds PATH waiting, once
there is ``FOLDER/hold``, until that file is gone; ``FOLDER/held`` says that one waits.
"""

from __future__ import annotations

import argparse
import http.client
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONDITIONS = {"if-none-match", "if-match"}


class Proxy(BaseHTTPRequestHandler):
    """Hands calls on."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    dropped: frozenset[str] | set[str] = frozenset()
    held = ""
    folder = Path()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":  # as PyArrow's client sends parts
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self) -> None:
        body = self._body()
        dropped = {"expect", "transfer-encoding", *self.dropped}
        kept = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        if self.command == "PUT" and self.held and self.held in self.path:
            while (self.folder / "hold").exists():
                (self.folder / "held").touch()
                time.sleep(0.01)
        connection = http.client.HTTPConnection(self.upstream)
        connection.request(self.command, self.path, body, kept)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {
                "transfer-encoding",
                "content-length",
                "connection",
                "date",
                "server",
            }:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("--hold", nargs=2, metavar=("PATH", "FOLDER"))
    options = parser.parse_args()
    Proxy.upstream = urllib.parse.urlsplit(options.upstream).netloc
    if options.careless:
        Proxy.dropped = CONDITIONS
    if options.hold:
        Proxy.held, Proxy.folder = options.hold[0], Path(options.hold[1])
    ThreadingHTTPServer(("127.0.0.1", options.port), Proxy).serve_forever()
