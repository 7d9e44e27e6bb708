"""The program ``likewise``. Ctrl-C or SIGTERM while it loads is exit 130 too, not a traceback."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

SAID = b'{"code": 130, "message": "interrupted while loading", "hint": null, "failures": []}\n'


def _stop(*_: object) -> None:
    if "--json" in sys.argv:
        os.write(1, SAID)
    os._exit(130)


def main() -> None:
    """Run the command line and end the process with a documented exit code."""
    # Nothing has been opened yet, so that nothing has to be closed; once the command line is
    # loaded, an interrupt is an exception that stages clean up after.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    # Not at the top of the file: the handlers stand before anything else loads.
    from likewise.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
