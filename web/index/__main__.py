"""The process that makes an index: ``python -m web.index``, one JSON object on standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from likewise.errors import LikewiseError
from likewise.study import Study
from web.index.build import build


def main() -> int:
    """Make what is asked for; what cannot be made is told in one line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; it ends this process
    os.nice(10)  # pages come first
    asked = json.load(sys.stdin)
    opened = Study.open(asked["root"])
    path = Path(asked["path"])
    try:
        build(Study(opened.root, opened.config, asked["versions"]), path, path.parent)
    except (LikewiseError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
