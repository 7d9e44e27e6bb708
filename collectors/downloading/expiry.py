"""When a signed address stops working, read from the address itself."""

from __future__ import annotations

import datetime as dt
from urllib.parse import parse_qs, urlsplit

__all__ = ["expires_at"]

_LONG_AGO = dt.datetime(2010, 1, 1, tzinfo=dt.UTC).timestamp()
_FAR_OFF = dt.datetime(2100, 1, 1, tzinfo=dt.UTC).timestamp()


def expires_at(url: str) -> float | None:
    """Epoch seconds at which a signed URL expires; None when it does not say.

    Known: ``oe`` (Instagram and Facebook, hexadecimal), ``X-Amz-Date`` + ``X-Amz-Expires`` (S3),
    ``X-Goog-Date`` + ``X-Goog-Expires`` (Google), ``Expires`` (CloudFront, older S3),
    ``se`` (Azure), ``ex`` (Discord, hexadecimal), ``exp`` and ``e``.
    """
    query = urlsplit(url).query
    if not query:
        return None
    given = {name.lower(): values[0] for name, values in parse_qs(query).items()}
    for kind in ("x-amz", "x-goog"):
        if f"{kind}-expires" in given:
            start = _iso(given.get(f"{kind}-date", ""))
            lasts = _number(given[f"{kind}-expires"], 10)
            return None if start is None or lasts is None else start + lasts
    if "oe" in given and ("oh" in given or "_nc_ht" in given):
        return _plausible(_number(given["oe"], 16))
    if "ex" in given and "hm" in given:
        return _plausible(_number(given["ex"], 16))
    if "se" in given and "sig" in given:
        return _iso(given["se"])
    for name in ("expires", "exp", "e"):
        if name in given:
            return _plausible(_number(given[name], 10))
    return None


def _number(text: str, base: int) -> float | None:
    try:
        return float(int(text, base))
    except ValueError:
        return None


def _plausible(moment: float | None) -> float | None:
    """A parameter of that name may mean anything: only a date of this century is a date."""
    return moment if moment is not None and _LONG_AGO < moment < _FAR_OFF else None


def _iso(text: str) -> float | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp()
