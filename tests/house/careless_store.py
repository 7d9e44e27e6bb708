"""A server of S3 that ignores conditions: whatever it is told not to overwrite, it overwrites.

``python careless_store.py UPSTREAM --port N`` hands every call on to a real server, without the
headers ``If-None-Match`` and ``If-Match``.
"""

from __future__ import annotations

import argparse
import http.client
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONDITIONS = {"if-none-match", "if-match", "expect"}


class Careless(BaseHTTPRequestHandler):
    """Hands calls on, but for conditions."""

    protocol_version = "HTTP/1.1"
    upstream = ""

    def _forward(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in CONDITIONS}
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
    options = parser.parse_args()
    Careless.upstream = urllib.parse.urlsplit(options.upstream).netloc
    ThreadingHTTPServer(("127.0.0.1", options.port), Careless).serve_forever()
