"""Why a server cannot be reached, in words, and what to change."""

from __future__ import annotations

import errno
import ssl
from typing import NamedTuple

import aiohttp

__all__ = ["Trouble", "trouble"]


class Trouble(NamedTuple):
    """``reason`` is a name to count by, ``what`` a sentence's end, ``mend`` what to change."""

    reason: str
    what: str
    mend: str


def trouble(error: BaseException) -> Trouble:
    """The cause behind an exception of ``aiohttp``'s requests.

    The kinds are told apart by the exception's class, and by ``errno`` where the system refused.
    """
    for kinds, found in _BY_CLASS:
        if isinstance(error, kinds):
            # A proxy's address may hold a password: no text of aiohttp's own is repeated.
            detail = getattr(error, "status", "") or getattr(error, "certificate_error", "")
            return found._replace(what=f"{found.what}: {detail}" if detail else found.what)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return Trouble(
            "refused", "nothing listens there (connection refused)",
            "check host and port, and that the server runs",
        )  # fmt: skip
    if number in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}:
        return Trouble(
            "unreachable", "there is no route to it",
            "check this machine's network and firewall",
        )  # fmt: skip
    if isinstance(error, OSError | aiohttp.ServerDisconnectedError):
        return Trouble(
            "connection", f"the connection broke: {error or type(error).__name__}",
            "try again; if it stays, ask the server's operators",
        )  # fmt: skip
    return Trouble(
        "protocol", f"its answer is no HTTP ({type(error).__name__})",
        "check host and port: something else answers there",
    )  # fmt: skip


_BY_CLASS: list[tuple[tuple[type[BaseException], ...], Trouble]] = [
    (
        (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
        Trouble(
            "proxy", "the proxy refuses or cannot be reached",
            "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
        ),
    ),
    (
        (aiohttp.ClientConnectorDNSError,),
        Trouble(
            "dns", "its name cannot be resolved (DNS)",
            "check the spelling of host, and that this machine has a network and a name server",
        ),
    ),
    (
        (aiohttp.ClientConnectorCertificateError,),
        Trouble(
            "certificate", "its certificate is not valid (TLS)",
            "check the spelling of host and this machine's clock; behind a proxy that opens TLS, "
            "name its certificate in SSL_CERT_FILE",
        ),
    ),
    (
        (aiohttp.ClientSSLError, ssl.SSLError),
        Trouble(
            "tls", "it does not speak TLS there",
            "check host and port; a server without TLS is written http:// (no token is sent there)",
        ),
    ),
    (
        (TimeoutError,),
        Trouble(
            "timeout", "it does not answer in time",
            "try again later; a firewall that drops packets looks the same",
        ),
    ),
    (
        (aiohttp.ClientPayloadError, aiohttp.ContentTypeError),
        Trouble("truncated", "its answer was cut short", "try again later"),
    ),
]  # fmt: skip
