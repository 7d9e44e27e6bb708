"""What a stage would make now, and how that differs from what is there.

A stage begins with a function that says what it would make from what: that one is asked here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likewise.errors import LikewiseError
from likewise.growth import Growth
from likewise.stage import Stage
from likewise.study import Manifest, Study

__all__ = ["OTHER_ROWS", "Intent", "intent", "why"]

OTHER_ROWS = " holds other rows"
"""End of the sentence about an input."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a verb would make from what; ``error``: why it cannot start as things stand."""

    made: Stage | Growth | None = None
    made_from: Mapping[str, Any] | None = None
    """Inputs, parameters and code number; None where nothing would be made anew."""
    error: LikewiseError | None = None


BEGIN = {
    "clean": "spark_jobs.begin",
    "faces": "spark_jobs.begin",
    "label": "spark_jobs.begin",
    "extract": "spark_jobs.begin",
    "compare": "training.begin",
    "rank": "training.begin",
}
"""Verb -> module whose function of that name says what the verb would make."""


def intent(study: Study, verb: str) -> Intent:
    """What a verb would make now; nobody is asked, and nothing is written."""
    if verb == "download":
        return Intent(made_from=_download(study))
    try:
        made: Stage | Growth = getattr(importlib.import_module(BEGIN[verb]), verb)(study)
    except LikewiseError as error:
        return Intent(error=error)
    return Intent(made, made.made_from)


def _download(study: Study) -> Mapping[str, Any] | None:
    """What ``fetches`` would be made from; what is fetched then is not known before."""
    from collectors.downloading.store import CODE, WITH_STILLS, Store

    before, kept = study.manifest("fetches"), study.manifest("kept_posts")
    if before is None or kept is None:
        return None
    store = Store(study)
    stills = str(before.extra.get("kept_posts", "")).endswith(WITH_STILLS)
    params = {**before.made_from.get("params", {}), "hygiene": store.hygiene}
    if stills != study.config.collect.stills:
        params["stills"] = study.config.collect.stills
    return {
        **before.made_from,
        "inputs": {"kept_posts": kept.fingerprint},
        "params": params,
        "code": CODE,
        "n_buckets": store.n_buckets,
    }


def why(before: Manifest | None, now: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What differs between what a table was made from and what it would be made from."""
    if before is None:
        return ("it was never made",)
    if now is None:
        return ()
    old, new = _flat(before.made_from), _flat(now)
    changed = (key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return tuple(sorted(_sentence(key, old.get(key), new.get(key)) for key in changed))


def _sentence(key: str, old: Any, new: Any) -> str:
    if key.startswith("inputs."):
        name = key.removeprefix("inputs.")
        if old is None or new is None:
            return f"{name} is {'asked for now' if old is None else 'not asked for any more'}"
        return name + OTHER_ROWS
    if key == "code" or key.endswith(".code"):
        return "this version of likewise computes it otherwise"
    return f"{key.removeprefix('params.')} was {_value(old)}, is {_value(new)}"


def _value(value: Any) -> str:
    return "not set" if value is None else repr(value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
