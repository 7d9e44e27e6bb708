"""likewise: what makes a picture liked.

Every verb of the command line is a function of the same name here: ``likewise.clean(study)``.
They are imported on first use, so that ``import likewise`` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

VERBS = {
    "init": "likewise.initialise",
    "collect": "collectors.collect",
    "clean": "spark_jobs.clean",
    "download": "collectors.download",
    "faces": "spark_jobs.faces",
    "label": "spark_jobs.label",
    "extract": "spark_jobs.extract",
    "compare": "training.compare",
    "finetune": "training.finetune",
    "rank": "training.rank",
    "report": "training.report",
    "run": "likewise.runner",
    "status": "likewise.overview",
    "doctor": "likewise.checkup",
}
"""Verb -> module that holds the function of the same name."""


def __getattr__(name: str) -> Any:
    if name not in VERBS:
        raise AttributeError(f"module 'likewise' has no attribute {name!r}")
    return getattr(importlib.import_module(VERBS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *VERBS])
