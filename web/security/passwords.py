"""The password file: one ``NAME:scrypt:N:R:P:SALT:HASH`` a line, mode 0600.

scrypt with N = 2^15, r = 8, p = 1 (RFC 7914): 32 MB and about 0.1 s for each guess.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path

from likewise.errors import UsageError
from likewise.whole import whole_file

__all__ = ["add", "names", "right"]

_N, _R, _P = 2**15, 8, 1
_MEMORY = 64 * 1024 * 1024
LEAST = 10
"""Characters of a password."""


def add(path: Path, name: str, password: str) -> None:
    """Add a person to the file, or give them another password.

    Raises:
        UsageError: the name holds a colon or a space, or the password is short.
    """
    if not name or any(c in name for c in ": \t\r\n"):
        raise UsageError(f"{name!r} cannot be a name: no colons, no spaces")
    if len(password) < LEAST:
        raise UsageError(f"the password is shorter than {LEAST} characters")
    salt = secrets.token_bytes(16)
    digest = _derived(password, salt, _N, _R, _P)
    line = ":".join([name, "scrypt", str(_N), str(_R), str(_P), _text(salt), _text(digest)])
    known = _lines(path) if path.is_file() else {}
    with whole_file(path) as staged:
        staged.touch(0o600)
        staged.write_text("\n".join([*({**known, name: line}).values(), ""]), encoding="utf-8")


def names(path: Path) -> list[str]:
    """People in the file. Raises UsageError when it cannot be read or a line is damaged."""
    return list(_lines(path))


def right(path: Path, name: str, password: str) -> bool:
    """Whether the password is that person's. An unknown name takes as long as a known one."""
    line = _lines(path).get(name)
    if line is None:
        _derived(password, b"nobody's salt...", _N, _R, _P)
        return False
    _, _, n, r, p, salt, digest = line.split(":")
    found = _derived(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _lines(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}",
            hint=f"make it with: likewise serve --passwords {path} --add-user NAME STUDY",
        ) from error
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(":")
        if len(parts) != 7 or parts[1] != "scrypt" or not all(p.isdigit() for p in parts[2:5]):
            raise UsageError(f"{path}:{number}: expected NAME:scrypt:N:R:P:SALT:HASH")
        found[parts[0]] = line
    return found


def _derived(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
