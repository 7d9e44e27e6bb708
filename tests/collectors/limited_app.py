"""A Flask application limited by Flask-Limiter: ``python limited_app.py "50 per 2 second"``."""

from __future__ import annotations

import sys

from flask import Flask, request
from flask_limiter import Limiter
from werkzeug.serving import make_server

app = Flask(__name__)
limiter = Limiter(
    lambda: request.headers.get("Authorization", ""),
    app=app,
    default_limits=[sys.argv[1]],
    strategy=sys.argv[2],
    storage_uri="memory://",
    headers_enabled=True,
)


@app.get("/")
def answer() -> dict[str, bool]:
    return {"ok": True}


if __name__ == "__main__":
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
