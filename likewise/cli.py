"""The ``likewise`` command. Verbs load on first use, so that ``--help`` answers at once."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable

import click

from likewise import __version__
from likewise.errors import ExitCode, LikewiseError, PartialError

__all__ = ["COMMANDS", "cli", "guarded", "main", "run"]

COMMANDS: dict[str, str] = {
    "init": "Make a study folder with a commented likewise.toml.",
    "auth": "Add, list and withdraw the tokens that people gave.",
    "tokens": "Show what is left of every token's budget.",
    "collect": "Gather posts and authors from the platforms.",
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
    "rank": "Score every picture; best and worst galleries.",
    "explain": "Show what the ranking goes by.",
    "report": "Write one HTML file that shows everything.",
    "run": "Do all stages in order, skipping what is done.",
    "status": "Show where a study stands: the funnel of every stage.",
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
        module = importlib.import_module(f"likewise.commands.{cmd_name}")
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
            import difflib

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
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``likewise.errors``."""
    return guarded(lambda: cli.main(args, prog_name="likewise", standalone_mode=False))


def guarded(work: Callable[[], object]) -> int:
    """Call ``work``; turn whatever it raises into a message and a documented exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        answer = work()
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what was finished is kept, run the same command to go on")
        return ExitCode.INTERRUPTED
    except LikewiseError as error:
        _show(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: exit codes are a contract
        return _unplanned(error)
    # Click answers with the code of Context.exit, and with None after an ordinary end.
    return answer if isinstance(answer, int) else ExitCode.DONE


def _interrupt(*_: object) -> None:
    """A scheduler's SIGTERM leaves the same way as Ctrl-C."""
    raise KeyboardInterrupt


def _say(message: str) -> None:
    click.echo(f"likewise: {message}", err=True)


def _show(error: LikewiseError) -> None:
    _say(str(error))
    if isinstance(error, PartialError):
        for item, reason in error.failures:
            click.echo(f"  {item}: {reason}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


_SYSTEM = {
    errno.ENOSPC: "free some space there and run the same command again; nothing finished is lost",
    errno.EDQUOT: "raise the quota or free some space, then run the same command again",
    errno.EROFS: "this place is read-only: choose another study folder",
    errno.EACCES: "this place may not be written by you: choose another or change its rights",
    errno.EMFILE: "too many open files: raise the limit with ulimit -n",
}


def _unplanned(error: Exception) -> int:
    code = error.errno if isinstance(error, OSError) else None
    if any(sign in str(error) for sign in ("No space left on device", "disk is full")):
        code = errno.ENOSPC
    hint = _SYSTEM.get(code or 0)
    if hint is None:
        traceback.print_exception(error)
        _say("unexpected error: this is a bug; the traceback is above and in the study's logs/")
        return ExitCode.UNEXPECTED
    place = getattr(error, "filename", None) or "the study's disk"
    _say(f"{place}: {os.strerror(code or 0)}")
    click.echo(f"  {hint}", err=True)
    return ExitCode.USAGE


if os.environ.get("LIKEWISE_DEBUG"):
    import faulthandler

    faulthandler.enable()
