"""likewise: what makes a picture liked.

Every verb of the command line that works on a study or on pictures is a function of the same name
here: ``likewise.clean(study)``. They are imported on first use, so that ``import likewise`` stays
cheap; editors and type checkers read their signatures from ``__init__.pyi``.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

VERBS = {
    "init": "likewise.initialise",
    "tokens": "collectors.overview:budgets",
    "collect": "collectors.collect",
    "import_": "collectors.import_",
    "refresh": "collectors.refresh",
    "forget": "collectors.forget",
    "clean": "spark_jobs.clean",
    "download": "collectors.download",
    "faces": "spark_jobs.faces",
    "label": "spark_jobs.label",
    "extract": "spark_jobs.extract",
    "embed": "backbones.embed",
    "compare": "training.compare",
    "finetune": "training.finetune",
    "rank": "training.rank",
    "score": "training.score",
    "explain": "training.explain",
    "report": "training.report",
    "diff": "training.diff",
    "export": "training.export",
    "reviews": "web.reviews.publishing",
    "plan": "likewise.planning",
    "run": "likewise.runner",
    "status": "likewise.overview",
    "prune": "likewise.nights",
    "upgrade": "likewise.upgrading",
    "doctor": "likewise.checkup",
}
"""Verb -> module that holds the function of the same name, or module:function."""

__all__ = ["VERBS", "__version__", *VERBS]  # noqa: PLE0604 - names, all of them


def __getattr__(name: str) -> Any:
    if name not in VERBS:
        raise AttributeError(f"module 'likewise' has no attribute {name!r}")
    module, _, function = VERBS[name].partition(":")
    return getattr(importlib.import_module(module), function or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *VERBS])
