"""What is left of every token's budget, from the journal of a study."""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import Any

from collectors.budgets.pool import Pool, name_of
from collectors.collect import open_platforms, tokens_for
from collectors.crawling.journal import Journal
from likewise.study import Study

__all__ = ["budgets"]


def budgets(study: Study | str | os.PathLike[str]) -> list[dict[str, Any]]:
    """One row for each token and bucket: limit, remaining, resets_at, calls, failures, retired.

    ``waiting_until`` is when the next call may go where none may go now, else None. Nothing is
    called, and no row holds a secret.
    """
    opened = Study.open(study)
    rows: list[dict[str, Any]] = []
    with Journal(opened.journal_path) as journal:
        calls, shut = journal.budgets.calls(), journal.budgets.shut()
        for platform in open_platforms(opened):
            if platform.offline:
                continue
            pool = Pool(platform, tokens_for(platform))
            pool.restore(calls, shut)
            figures = journal.budgets.token_figures(platform.name, platform.host)
            rows += [
                {
                    "host": platform.host,
                    "token": name_of(token),
                    **figures.get(name_of(token), NONE),
                    **row,
                }
                for token in pool.tokens
                for row in _buckets(pool, token)
            ]
            known = {name_of(token) for token in pool.tokens}
            gone = [name for name in figures if name not in known]
            rows += [{"host": platform.host, "token": name, **figures[name]} for name in gone]
    return rows


NONE = {"calls": 0, "failures": 0, "retired": None}


def _buckets(pool: Pool[Any], token: Any) -> list[dict[str, Any]]:
    now = time.time()
    found = []
    for spec in pool.specs(token, "page"):
        bucket = pool.bucket(spec.key)
        ready = max(bucket.ready_at(now), pool.door.shut_until)
        found.append(
            {
                "bucket": spec.key,
                "limit": spec.limit,
                "period_s": spec.period,
                "remaining": bucket.remaining(now),
                "resets_at": _iso(bucket.resets_at(now)),
                "waiting_until": _iso(ready) if ready > now else None,
            }
        )
    return found


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")
