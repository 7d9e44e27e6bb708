"""Options and printing that several verbs share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from likewise.errors import PartialError
from likewise.funnel import Funnel
from likewise.study import Manifest, Study

__all__ = [
    "emit",
    "finish",
    "funnel_text",
    "json_option",
    "manifest_result",
    "master_option",
    "redo_option",
    "stage_command",
    "study_argument",
]

F = TypeVar("F", bound=Callable[..., Any])

study_argument = click.argument("study", type=click.Path(), metavar="STUDY")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
redo_option = click.option(
    "--redo", is_flag=True, help="Make the table anew although nothing it is made from has changed."
)
master_option = click.option(
    "--master", metavar="URL", help="Spark master; default is [spark] master of likewise.toml."
)


def stage_command(
    verb: str, summary: str, *, text: Callable[[Study], str] | None = None
) -> click.Command:
    """The command of a stage that takes no options of its own.

    ``text`` makes what people see from the study; without it they see the stage's funnel.
    """

    @click.command(verb, help=summary, epilog=f"Example: likewise {verb} my-study")
    @study_argument
    @redo_option
    @master_option
    @json_option
    def command(study: str, redo: bool, master: str | None, as_json: bool) -> None:
        import likewise

        opened = Study.open(study)
        manifest = getattr(likewise, verb)(opened, redo=redo, master=master)
        if text is None:
            manifest_result(manifest, as_json=as_json)
        else:
            emit(manifest.to_dict(), as_json=as_json, text=text(opened))

    return command


def emit(result: Any, *, as_json: bool, text: str) -> None:
    """Print a verb's result on standard output: JSON for machines, ``text`` for people."""
    click.echo(json.dumps(result, default=str, ensure_ascii=False) if as_json else text)


def finish(
    result: Mapping[str, Any],
    *,
    as_json: bool,
    text: str,
    failed: Sequence[tuple[str, str]],
    summary: str,
) -> None:
    """Print a result of which some items may have failed.

    Standard output holds one JSON document, so that of a failure carries the result.

    Raises:
        PartialError: items failed.
    """
    if not (as_json and failed):
        emit(result, as_json=as_json, text=text)
    if failed:
        raise PartialError(summary, failed, result=result)


def manifest_result(manifest: Manifest, *, as_json: bool) -> None:
    """Print what a stage has published: its funnel, and where."""
    text = f"{manifest.table}: {manifest.rows} rows, fingerprint {manifest.fingerprint}"
    if manifest.funnel:
        text = funnel_text(Funnel.from_dict(manifest.funnel)) + "\n" + text
    emit(manifest.to_dict(), as_json=as_json, text=text)


def funnel_text(funnel: Funnel) -> str:
    """Rows in, every named reason, rows out, one a line."""
    lines = [f"{funnel.stage}: {funnel.rows_in:>10,} {funnel.unit} in"]
    pad = " " * (len(funnel.stage) + 1)
    lines += [
        f"{pad} {-count:>10,} {reason}" for reason, count in funnel.to_dict()["dropped"].items()
    ]
    return "\n".join([*lines, f"{pad} {funnel.rows_out:>10,} out"])
