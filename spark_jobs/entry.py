"""What every file of this folder does when ``spark-submit`` or ``python -m`` is given it.

    spark-submit [OPTIONS] spark_jobs/clean.py STUDY [--redo]

runs the same function as ``likewise clean STUDY`` in the session that ``spark-submit`` started,
prints the manifest as JSON and ends with the exit codes of ``likewise.errors``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from typing import NoReturn

from likewise.errors import ExitCode, LikewiseError
from likewise.study import Manifest, Study
from spark_jobs.session import is_submitted, spark_session

__all__ = ["main"]


def main(module: str, verb: str) -> NoReturn:
    """Run ``module.verb`` on the study of the command line.

    The function is imported by its module's name, not taken from ``__main__``, so that executors
    find what it hands them.
    """
    parser = argparse.ArgumentParser(description=f"likewise {verb} as a Spark job.")
    parser.add_argument("study", metavar="STUDY", help="folder of the study")
    parser.add_argument("--redo", action="store_true", help="make the table anew")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way to say Ctrl-C
    try:
        study = Study.open(options.study)
        with study.lock():
            if is_submitted():
                spark_session(study.config)
            run = getattr(importlib.import_module(module), verb)
            manifest: Manifest = run(study, **({"redo": True} if options.redo else {}))
    except LikewiseError as error:
        print(
            f"likewise: {error}",
            *([f"  {error.hint}"] if error.hint else []),
            sep="\n",
            file=sys.stderr,
        )
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    print(json.dumps(manifest.to_dict(), default=str, ensure_ascii=False))
    sys.exit(ExitCode.DONE)
