"""Collect or join with a budget of few calls: STUDY, ``lead`` or ``join``, calls, seconds."""

from __future__ import annotations

import json
import sys

from collectors.budgets.buckets import BucketSpec
from collectors.collect import collect_from, join_from
from collectors.platforms.mastodon import Mastodon
from collectors.tokens.store import Token
from likewise.cli import guarded
from likewise.study import Study

LIMIT, PERIOD_S = int(sys.argv[3]), float(sys.argv[4])


class TightMastodon(Mastodon):
    """Mastodon that allows an address ``LIMIT`` calls in any ``PERIOD_S`` seconds."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return [BucketSpec(f"{self.host}/ip", LIMIT, PERIOD_S, "sliding")]


def main(path: str, part: str) -> None:
    study = Study.open(path)
    adapters = [TightMastodon(source) for source in study.config.collect.sources]
    if part == "join":
        print(json.dumps(join_from(study, adapters)))
        return
    with study.lock():
        collect_from(study, adapters)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1], sys.argv[2])))
