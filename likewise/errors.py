"""The one exception tree of likewise, and the exit codes that scripts rely on.

====  ===========================================================================
code  meaning
====  ===========================================================================
0     done
1     unexpected error (a bug: the traceback is in ``logs/``)
2     usage or configuration: words, options, ``likewise.toml``, or data that cannot be used
3     partial: some items failed, all of them listed; or a circuit breaker opened
4     credentials missing, refused or expired
5     refused because a table carries another fingerprint
6     an input is missing: an earlier stage has not published its table
7     busy: another run holds the study; the same command later will do
8     storage and machine: disk or quota full, read-only, not permitted, too few descriptors,
      or a JVM that was killed again and again
130   interrupted (Ctrl-C); what was finished is kept
====  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

__all__ = [
    "CircuitOpenError",
    "CommitRaceError",
    "ConfigError",
    "CredentialsError",
    "DataError",
    "ExitCode",
    "FingerprintError",
    "LikewiseError",
    "MissingTableError",
    "PartialError",
    "ResourcesError",
    "StorageError",
    "StudyBusyError",
    "StudyError",
    "UsageError",
    "WeightsError",
]


class ExitCode(IntEnum):
    """Exit status of the ``likewise`` command."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    PARTIAL = 3
    CREDENTIALS = 4
    FINGERPRINT = 5
    INPUT = 6
    BUSY = 7
    STORAGE = 8
    INTERRUPTED = 130


class LikewiseError(Exception):
    """Base of every error that likewise raises on purpose.

    ``str(error)`` says what happened, naming the file, field or token; ``hint`` says what to do,
    and the part ``topic`` of docs/troubleshooting.md tells more.
    """

    exit_code = ExitCode.UNEXPECTED
    topic = "1-a-bug"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LikewiseError):
    """The command or function was called with something it cannot work on."""

    exit_code = ExitCode.USAGE
    topic = "2-usage"


class ConfigError(UsageError):
    """``likewise.toml`` holds an unknown key, a wrong type or an impossible value."""

    topic = "2-configuration"


class StudyError(UsageError):
    """The study folder is missing, is a file, or holds what cannot be used."""

    topic = "2-the-study"


class StudyBusyError(StudyError):
    """Another run holds the study's lock."""

    exit_code = ExitCode.BUSY
    topic = "7-busy"

    def __init__(self, root: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"{root} is in use by {holder}",
            hint="wait for it to end, or stop it; a lock left by a dead process frees itself",
        )
        self.pid = pid


class CommitRaceError(StudyError):
    """Another run, which this machine's lock does not know of, has committed to a table first."""

    exit_code = ExitCode.BUSY
    topic = "7-busy"


class StorageError(StudyError):
    """The place cannot be written or reached: full, read-only, forbidden, or away."""

    exit_code = ExitCode.STORAGE
    topic = "8-storage"


class ResourcesError(StorageError):
    """The machine took a process away again and again, most often for its memory."""


class MissingTableError(StudyError):
    """A stage needs a table that no earlier stage has published."""

    exit_code = ExitCode.INPUT
    topic = "6-an-input-is-missing"


class DataError(UsageError):
    """The data cannot carry the computation (one class only, no rows left, NaN features, ...)."""

    topic = "2-the-data"


class WeightsError(UsageError):
    """Network weights are missing, damaged, or belong to another architecture."""

    topic = "2-weights"


class PartialError(LikewiseError):
    """Some items failed. ``failures`` lists every one of them as (item, reason).

    ``result`` is what ``--json`` says of all the others, where a verb has such a thing to say.
    ``folder`` is where the command line writes a list that is too long to read on a screen.
    """

    exit_code = ExitCode.PARTIAL
    topic = "3-some-items-failed"

    def __init__(
        self,
        message: str,
        failures: Sequence[tuple[str, str]] = (),
        *,
        hint: str | None = None,
        result: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.failures = list(failures)
        self.result = result
        self.folder = folder


class CircuitOpenError(PartialError):
    """Nearly every item failed for one and the same reason: a bug or a ban, not data."""

    topic = "3-nearly-everything-failed"


class CredentialsError(LikewiseError):
    """A token is missing, refused or expired. The message never holds the secret."""

    exit_code = ExitCode.CREDENTIALS
    topic = "4-credentials"


class FingerprintError(LikewiseError):
    """A table on disk was made from other inputs, parameters, code or weights."""

    exit_code = ExitCode.FINGERPRINT
    topic = "5-another-fingerprint"
