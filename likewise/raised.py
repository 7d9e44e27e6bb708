"""What an exception that has come up is about: an interrupt, or one error of a whole group."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from likewise.errors import LikewiseError

__all__ = ["has_interrupt", "one_error"]

DUCKDB_INTERRUPTED = ("Query interrupted", "INTERRUPT Error")
"""How DuckDB's exceptions begin when Ctrl-C came during a query: it keeps the interrupt itself."""


def has_interrupt(error: BaseException | None) -> bool:
    """True for an interrupt, and for what a library made of one (an ImportError, say)."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, KeyboardInterrupt) or str(one).startswith(DUCKDB_INTERRUPTED):
            return True
        waiting += [one.__cause__, one.__context__]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return False


@contextlib.contextmanager
def one_error() -> Iterator[None]:
    """Let what task groups raise leave as the error that tells most: one of ours, else the first.

    Exit codes and messages hang on it, and callers of the Python functions expect it.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        ours = group.subgroup(LikewiseError)
        leaf: BaseException = group if ours is None else ours
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise leaf from None
