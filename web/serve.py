"""``serve``: the server process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from likewise.errors import UsageError
from web.app import create_app
from web.settings import Settings

__all__ = ["serve"]


def serve(settings: Settings, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until interrupted; ``ready`` is told the address once it listens.

    Raises:
        UsageError: the address cannot be listened on.
        LikewiseError: a study cannot be read.
    """
    import uvicorn

    app = create_app(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)  # whoever is told the address may connect at once
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
            hint="choose another with --port; --port 0 takes any free one",
        ) from error
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    if ready is not None:
        ready(f"http://{shown}:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=64 * 1024,
        limit_concurrency=512,
    )
    # uvicorn ends in order and then raises the signal again; to be stopped is how a server ends.
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
