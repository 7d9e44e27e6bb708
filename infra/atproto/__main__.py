"""``python -m infra.atproto COMMAND ...``: a command beside Bluesky's own servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from infra.atproto.installation import HERE, install
from infra.atproto.servers import running
from likewise.cli import guarded
from likewise.errors import UsageError
from likewise.progress import note

FOLDER = HERE.parent.parent / ".atproto"


def main(command: list[str]) -> int:
    """Run a command with ``LIKEWISE_ATPROTO`` set; return its exit code."""
    return guarded(lambda: _beside_servers(command))


def _beside_servers(command: list[str]) -> int:
    if not command:
        raise UsageError("there is nothing to run beside the servers", hint="make test-atproto")
    installation = install(FOLDER)
    started = time.monotonic()
    with running(installation) as about:
        note(f"Bluesky's servers answer after {time.monotonic() - started:.0f} s: {about['pds']}")
        environment = {**os.environ, "LIKEWISE_ATPROTO": json.dumps(about)}
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
