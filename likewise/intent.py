"""What a stage would make now, asked of the stage itself, and how that differs from what is there.

Nothing is computed: a stage is stopped at the moment when it says what it would make from what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import likewise
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


class _Asked(Exception):  # noqa: N818 - it carries an answer, it is no error
    """Ends a stage at the moment when it says what it would make."""

    def __init__(self, made: Stage | Growth) -> None:
        super().__init__()
        self.made = made


class _Dry(Study):
    """A study in which no stage goes beyond saying what it would make."""

    def begin(self, *arguments: Any, **how: Any) -> Stage:
        raise _Asked(super().begin(*arguments, **how))

    def grow(self, *arguments: Any, **how: Any) -> Growth:
        raise _Asked(super().grow(*arguments, **how))


def intent(study: Study, verb: str) -> Intent:
    """What a verb would make now; nobody is asked, and nothing is written."""
    if verb == "download":
        return Intent(made_from=_download(study))
    try:
        # A look neither waits for the lock nor logs.
        getattr(likewise, verb).__wrapped__(_Dry(study.root, study.config))
    except _Asked as asked:
        return Intent(asked.made, asked.made.made_from)
    except LikewiseError as error:
        return Intent(error=error)
    return Intent()


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
