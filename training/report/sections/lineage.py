"""Where every number comes from: fingerprints, versions, parameters and weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from likewise.study import MADE_BY, Manifest
from training.models import saved as models
from training.report.context import Context, Section

__all__ = ["section"]


def section(context: Context) -> Section:
    """One row a table, the parameters of each stage, and the saved models."""
    manifests = [m for name in MADE_BY if (m := context.manifest(name)) is not None]
    return Section(
        "lineage",
        "Where the numbers come from",
        "lineage.html",
        {
            "tables": [_row(m) for m in manifests],
            "missing": [name for name in MADE_BY if context.manifest(name) is None],
            "weights": _weights(context.said("features")),
            "models": models.names(context.study),
        },
    )


def _row(manifest: Manifest) -> dict[str, Any]:
    made = manifest.made_from
    return {
        "manifest": manifest,
        "inputs": made.get("inputs", {}),
        "params": json.dumps(made.get("params", {}), indent=1, ensure_ascii=False),
    }


def _weights(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever the extraction says of its network, one line a key."""
    return {
        name: value
        for name, value in extra.items()
        if isinstance(value, str | int | float | bool) and name not in {"rows"}
    }
