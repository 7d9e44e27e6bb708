"""The program ``likewise``. Ctrl-C while it still loads is exit 130 too, not a traceback."""

from __future__ import annotations

import os
import signal

from likewise.cli import main as command_line

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with a documented exit code."""
    # Nothing has been opened yet, so that nothing has to be closed; once the command line is
    # loaded, an interrupt is an exception that stages clean up after.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    command_line()


if __name__ == "__main__":
    main()
