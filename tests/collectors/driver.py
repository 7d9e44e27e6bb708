"""Run a collection with wide budgets, in a process of its own: ``python driver.py STUDY``.

The declared budgets of a platform span minutes; tests and benchmarks cannot wait for them.
"""

from __future__ import annotations

import sys

from collectors.budgets.buckets import BucketSpec
from collectors.collect import collect_from
from collectors.platforms.mastodon import Mastodon
from collectors.tokens.store import Token
from likewise.study import Study


class WideMastodon(Mastodon):
    """Mastodon with budgets that are never used up."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return [
            BucketSpec(spec.key, spec.limit * 1000, spec.period, spec.window)
            for spec in super().buckets(token, kind)
        ]


def main(path: str) -> None:
    study = Study.open(path)
    with study.lock():
        collect_from(study, [WideMastodon(source) for source in study.config.collect.sources])


if __name__ == "__main__":
    main(sys.argv[1])
