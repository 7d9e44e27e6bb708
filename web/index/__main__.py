"""The process that makes an index: ``python -m web.index``, one JSON object on standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from likewise.study import Study
from web.children import work
from web.index.build import build


def _do(study: Study, asked: dict[str, Any]) -> None:
    path = Path(asked["path"])
    build(study, path, path.parent)


if __name__ == "__main__":
    sys.exit(work(_do))
