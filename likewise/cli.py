"""The ``likewise`` command. Verbs load on first use, so that ``--help`` answers at once."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import difflib
import errno
import functools
import importlib
import json
import keyword
import os
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import click

from likewise import __version__
from likewise.errors import ExitCode, LikewiseError, PartialError
from likewise.extras import advice
from likewise.raised import has_interrupt
from likewise.whole import write_bytes

__all__ = ["COMMANDS", "cli", "guarded", "main", "run"]

COMMANDS: dict[str, str] = {
    "init": "Make a study folder with a commented likewise.toml.",
    "auth": "Add, list and withdraw the tokens that people gave.",
    "tokens": "Show what is left of every token's budget.",
    "collect": "Gather posts and authors from the platforms.",
    "import": "Take in a table, a folder or an export that you have.",
    "refresh": "Read counts again and drop what was deleted upstream.",
    "forget": "Delete one person's rows and pictures everywhere.",
    "clean": "Keep ordinary authors and settled posts (MAD rule).",
    "download": "Fetch the pictures of the kept posts.",
    "faces": "Find faces, with confidences.",
    "label": "Label pictures good or bad by likes / followers.",
    "extract": "Compute AlexNet FC6/FC7 (or other) features on Spark.",
    "embed": "Compute features of a folder of pictures, without Spark.",
    "weights": "List, fetch, verify and import network weights.",
    "compare": "Compare classifiers on the same author-disjoint folds.",
    "finetune": "Go on training the network itself.",
    "score": "Say how well pictures would be liked that are not posted yet.",
    "rank": "Score every picture; best and worst galleries.",
    "classify": "Categories, brands and taxonomies: the same engine, other labels.",
    "explain": "Show what the ranking goes by.",
    "export": "Write tables, or pictures, to files of other programs.",
    "diff": "Say what differs between two studies, or two nights.",
    "report": "Write one HTML file that shows everything.",
    "serve": "Browse studies in a browser: ranking, pictures, reviews; REST.",
    "reviews": "Publish what people said in the browser, for the next model.",
    "plan": "Say what a run would do, why, and what it will cost.",
    "run": "Do all stages in order, skipping what is done.",
    "status": "Show where a study stands: the funnel of every stage.",
    "prune": "Delete earlier versions of the tables, but for the last nights.",
    "upgrade": "Convert a study of an older likewise.",
    "doctor": "Check this machine and say how to mend it.",
    "sandbox": "Serve a synthetic world to collect from.",
}


class _Verbs(click.Group):
    """Commands are found in ``likewise.commands.VERB`` when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        # `import` is a word of the language: its module has an underscore.
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"likewise.commands.{name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs, in the order of their work"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            mend = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"There is no verb {args[0]!r}.{mend}")
        return super().resolve_command(ctx, args)


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="likewise")
def cli() -> None:
    """What makes a picture liked: from social platforms to ranked pictures.

    Every verb works on a study folder. Example: likewise run my-study
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process with a documented exit code."""
    # Registered first, so that they run last: an ending Python gives its signals back to the
    # system, which would kill the process in place of its exit code.
    for number in (signal.SIGINT, signal.SIGTERM):
        atexit.register(signal.signal, number, signal.SIG_IGN)
    code = run(args)
    # From here on libraries close what they opened; a second Ctrl-C need not wait for them.
    signal.signal(signal.SIGINT, lambda *_: os._exit(ExitCode.INTERRUPTED))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))  # the result has been told
    if code == ExitCode.INTERRUPTED:
        # An interrupt that passed through a text being evaluated (every named tuple is one) sets a
        # flag of CPython's, and its very end then kills the process by SIGINT in place of the code.
        # So the end is made here: what libraries registered runs, then the process is gone.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``likewise.errors``.

    With ``--json`` an error is JSON on standard output as well: code, message, hint, failures.
    """
    given = sys.argv[1:] if args is None else args
    as_json = "--json" in given[: given.index("--") if "--" in given else None]
    return guarded(
        lambda: cli.main(args, prog_name="likewise", standalone_mode=False), as_json=as_json
    )


def guarded(work: Callable[[], object], *, as_json: bool = False) -> int:
    """Call ``work``; turn whatever it raises into a message and a documented exit code."""
    tell = _tell_machines if as_json else _tell_people
    stopped: list[int] = []
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, functools.partial(_ctrl_c, tell, stopped))
        signal.signal(signal.SIGINT, functools.partial(_ctrl_c, tell, stopped))
    sys.unraisablehook = _unraisable
    try:
        answer = work()
        sys.stdout and sys.stdout.flush()
    except BaseException as error:  # the last line of defence: exit codes are a contract
        # A signal to the whole group ends workers and the JVM too, and the first to notice may be
        # the library that has lost them.
        if stopped or isinstance(error, click.Abort) or has_interrupt(error):
            return _interrupted(tell)
        if isinstance(error, LikewiseError):
            return _planned(error, tell, as_json=as_json)
        if isinstance(error, click.ClickException):
            return _usage(error, tell, as_json=as_json)
        if _reader_left():
            return ExitCode.DONE
        if not isinstance(error, Exception):
            raise
        if isinstance(error, ModuleNotFoundError) and (mend := advice(error.name or "")):
            tell(ExitCode.USAGE, f"this needs the package {error.name}, which is not here", mend,
                 topic="2-a-missing-package")  # fmt: skip
            return ExitCode.USAGE
        return _unplanned(error, tell)
    # Click answers with the code of Context.exit, and with None after an ordinary end.
    return answer if isinstance(answer, int) else ExitCode.DONE


def _planned(error: LikewiseError, tell: Tell, *, as_json: bool) -> int:
    failures = error.failures if isinstance(error, PartialError) else ()
    if len(failures) > FEW and not as_json:
        failures = _summed_up(failures, getattr(error, "folder", None))
    result = getattr(error, "result", None)
    tell(error.exit_code, str(error), error.hint, failures, result, topic=error.topic)
    return error.exit_code


def _usage(error: click.ClickException, tell: Tell, *, as_json: bool) -> int:
    if not as_json:
        error.show()
    else:
        tell(ExitCode.USAGE, error.format_message(), _usage_hint(error), topic="2-usage")
    return ExitCode.USAGE


FEW = 20
"""More failures than this are counted on the screen and listed in a file."""


def _summed_up(failures: Sequence[tuple[str, str]], folder: Path | None) -> list[tuple[str, str]]:
    """Counts by reason, the most frequent first, and the file with the whole list."""
    lines = ("\t".join(" ".join(part.split()) for part in one) for one in failures)
    try:
        folder = folder or Path(tempfile.mkdtemp(prefix="likewise-"))
        folder.mkdir(parents=True, exist_ok=True)
        listed = str(folder / "failed.tsv")
        write_bytes(Path(listed), ("\n".join(lines) + "\n").encode("utf-8", "replace"))
    except OSError as error:  # a full disk must not hide what failed
        listed = f"not listed: {error}"
    counts = Counter(reason for _, reason in failures).most_common()
    shown = [(f"{times:,}", reason) for reason, times in counts[:FEW]]
    if rest := counts[FEW:]:
        shown.append((f"{sum(times for _, times in rest):,}", f"{len(rest)} other reasons"))
    return [*shown, ("all of them", listed)]


def _ctrl_c(tell: Tell, stopped: list[int], number: int, frame: FrameType | None) -> None:
    """Ctrl-C, or a scheduler's SIGTERM, is an exception that stages clean up after.

    While a library loads it ends the process at once.
    Extension modules print the traceback of an import that is broken off before anybody can catch
    it; nothing is written while a module loads, so the process may end there.
    """
    stopped.append(number)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _interrupted(tell)
            os._exit(ExitCode.INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    """An interrupt that came in a destructor or a callback of C is raised again outside of it."""
    if isinstance(args.exc_value, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(args)


def _interrupted(tell: Tell) -> int:
    said = "interrupted; what was finished is kept, run the same command to go on"
    tell(ExitCode.INTERRUPTED, said)
    return ExitCode.INTERRUPTED


def _reader_left() -> bool:
    """True when whoever read standard output (``head``, say) has enough; then all is well."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # no standard output, or one that is no file
        return False
    watch = select.poll()
    watch.register(descriptor, 0)
    if not any(event & select.POLLERR for _, event in watch.poll(0)):
        return False
    # What is still buffered would fail once more when the interpreter ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return True


Tell = Callable[..., None]
"""Says what went wrong: exit code, message, hint, failures (item, reason), and what was done."""

PAGE = "docs/troubleshooting.md"


def _tell_people(
    code: int,  # noqa: ARG001
    message: str,
    hint: str | None = None,
    failures: Sequence[tuple[str, str]] = (),
    result: object = None,  # noqa: ARG001 - people have seen it already
    *,
    topic: str | None = None,
) -> None:
    click.echo(f"likewise: {message}", err=True)
    for item, reason in failures:
        click.echo(f"  {item}: {reason}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
    if topic:
        click.echo(f"  more: {PAGE}#{topic}", err=True)


def _tell_machines(
    code: int,
    message: str,
    hint: str | None = None,
    failures: Sequence[tuple[str, str]] = (),
    result: object = None,
    *,
    topic: str | None = None,
) -> None:
    """One JSON object on standard output, as the result would have been."""
    error = {
        "code": int(code),
        "message": message,
        "hint": hint,
        "failures": [{"item": item, "reason": reason} for item, reason in failures],
    }
    if topic:
        error["help"] = f"{PAGE}#{topic}"
    if result is not None:
        error["result"] = result
    click.echo(json.dumps(error, default=str, ensure_ascii=False))


def _usage_hint(error: click.ClickException) -> str | None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return None if context is None else f"{context.command_path} --help"


_SYSTEM = {
    errno.ENOSPC: "free some space there and run the same command again; nothing finished is lost",
    errno.EDQUOT: "raise the quota or free some space, then run the same command again",
    errno.EROFS: "this place is read-only: choose another study folder",
    errno.EACCES: "this place may not be written by you: choose another or change its rights",
    errno.EMFILE: "too many open files: raise the limit with ulimit -n",
}


_STORES = ("AWS Error ", "Generic S3 error", "Generic GCS error", "Generic MicrosoftAzure error")
"""How object stores' clients begin what they say, in whatever process they said it."""


def _unplanned(error: Exception, tell: Tell | None = None) -> int:
    tell = tell or _tell_people
    code = error.errno if isinstance(error, OSError) else None
    if any(sign in str(error) for sign in ("No space left on device", "disk is full")):
        code = errno.ENOSPC
    if any(sign in str(error) for sign in _STORES):
        said = f"the store does not answer, or refuses: {str(error).strip().splitlines()[0]}"
        mend = "is it reachable, and do the credentials hold? Run the same command again then"
        tell(ExitCode.STORAGE, said, mend, topic="8-storage")
        return ExitCode.STORAGE
    hint = _SYSTEM.get(code or 0)
    if hint is None:
        traceback.print_exception(error)
        tell(
            ExitCode.UNEXPECTED,
            "unexpected error: this is a bug; the traceback is above and in the study's logs/"
            if tell is _tell_people
            else f"unexpected error: {type(error).__name__}: {error}",
            "please report it, with the traceback on standard error",
            topic="1-a-bug",
        )
        return ExitCode.UNEXPECTED
    place = getattr(error, "filename", None) or "the study's disk"
    tell(ExitCode.STORAGE, f"{place}: {os.strerror(code or 0)}", hint, topic="8-storage")
    return ExitCode.STORAGE


if os.environ.get("LIKEWISE_DEBUG"):
    import faulthandler

    faulthandler.enable()
