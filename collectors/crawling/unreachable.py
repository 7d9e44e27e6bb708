"""Why a server cannot be reached, in words, and what to change."""

from __future__ import annotations

import errno
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
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Trouble(
            "dns", "its name cannot be resolved (DNS)",
            "check the spelling of host, and that this machine has a network and a name server",
        )  # fmt: skip
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Trouble(
            "certificate", f"its certificate is not valid (TLS): {error.certificate_error}",
            "check the spelling of host and this machine's clock; behind a proxy that opens TLS, "
            "name its certificate in SSL_CERT_FILE",
        )  # fmt: skip
    if isinstance(error, aiohttp.ClientSSLError):
        return Trouble(
            "tls", "it does not speak TLS there",
            "check host and port; a server without TLS is written http:// (no token is sent there)",
        )  # fmt: skip
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Trouble(
            "proxy", f"the proxy refuses or is gone: {error}",
            "check HTTPS_PROXY, or unset it",
        )  # fmt: skip
    if isinstance(error, TimeoutError):
        return Trouble(
            "timeout", "it does not answer in time",
            "try again later; a firewall that drops packets looks the same",
        )  # fmt: skip
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
    return Trouble(
        "connection", f"the connection broke: {error or type(error).__name__}",
        "try again; if it stays, ask the server's operators",
    )  # fmt: skip
