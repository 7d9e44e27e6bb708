"""``make bench``: every benchmark in turn, each in a process of its own so that none warms another.

``python -m benchmarks NAME ...`` runs the named ones; arguments after ``--`` go to all of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Run benchmarks; return 0 when all of them ended well."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    known = sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))
    wanted = arguments[:cut] or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in wanted:
        print(f"\n## {name}\n", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments[cut + 1 :]]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
