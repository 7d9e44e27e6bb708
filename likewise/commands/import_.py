"""``likewise import``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from likewise.commands._common import emit, json_option, study_argument

if TYPE_CHECKING:
    from collectors.import_ import Imported

SHOWN = 20
"""Items that were not understood and are shown; the others stand in a file."""


def _pairs(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    del context
    found = {}
    for value in values:
        meaning, equals, said = value.partition("=")
        if not equals or not said:
            raise click.BadParameter(f"{value!r}, expected MEANING=SOMETHING", param=parameter)
        found[meaning.strip()] = said
    return found


@click.command(
    "import",
    epilog="Example: likewise import my-study posts.csv --map likes=hearts --pictures photos",
)
@study_argument
@click.argument("source", type=click.Path(path_type=Path), metavar="SOURCE")
@click.option("--as", "kind", metavar="KIND", help="What it is, e.g. csv, instaloader, classes.")
@click.option("--name", help="Name of the source in the study; default is the file's.")
@click.option(
    "--map", "columns", multiple=True, callback=_pairs, metavar="MEANING=COLUMN",
    help="What a column means, e.g. likes=hearts; may be repeated.",
)  # fmt: skip
@click.option(
    "--set", "constants", multiple=True, callback=_pairs, metavar="MEANING=VALUE",
    help="One value for all posts, e.g. date=2024-01-31 or author=me.",
)  # fmt: skip
@click.option(
    "--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that the paths in a table start from; default is the table's.",
)  # fmt: skip
@click.option(
    "--thousands", type=click.Choice([",", "."]), help="Sign between thousands: 1,234 or 1.234."
)
@click.option("--rounded", is_flag=True, help="Read 1.2k as 1200 and 12.6 as 13.")
@click.option("--zone", default="UTC", show_default=True, help="Zone of times without one.")
@click.option("--date-format", metavar="FORMAT", help="How dates are written, e.g. %d.%m.%Y.")
@click.option("--encoding", help="Encoding of a text table, e.g. cp1252.")
@click.option("--delimiter", help="Sign between columns of a text table.")
@click.option("--sheet", help="Sheet of an Excel workbook.")
@click.option("--query", help="SQL for a DuckDB or SQLite file.")
@json_option
def command(study: str, source: Path, kind: str | None, name: str | None, as_json: bool, **said):  # type: ignore[no-untyped-def]
    """Take in what you have: a table, a folder of pictures, another program's download.

    What it is and what its columns mean is found out and said. Nothing is fetched; pictures stay
    where they are until likewise download looks at them.
    """
    from collectors.import_ import import_
    from collectors.imports.base import Options
    from likewise.study import Study

    opened = Study.open(study)
    done = import_(opened, source, kind=kind, name=name, options=Options(**said))
    emit(_as_json(done), as_json=as_json, text=_text(done, study))
    if done.n_refused:
        raise _partial(done, source)


def _as_json(done: Imported) -> dict[str, object]:
    names = ("kind", "recognised", "host", "posts", "authors", "dropped", "meanings", "unused",
             "forbids", "notes", "reasons")  # fmt: skip
    return {name: getattr(done, name) for name in names} | {
        "refused": [list(one) for one in done.refused]
    }


def _text(done: Imported, study: str) -> str:
    lines = [f"recognised: {done.recognised} ({done.kind})"]
    lines += [f"  {meaning:<12} <- {column}" for meaning, column in done.meanings.items()]
    if done.unused:
        lines.append(f"  not used: {', '.join(done.unused)}")
    lines += [f"  {note}" for note in done.notes]
    lines += [f"  {what}" for what in done.forbids]
    posts = "post" if done.posts == 1 else "posts"
    readings = "reading of an author" if done.authors == 1 else "readings of authors"
    lines.append(f"{done.posts:,} {posts}, {done.authors:,} {readings} as {done.host}")
    lines += [f"  {-times:,} {reason}" for reason, times in done.dropped.items()]
    lines.append(f"next: likewise run {study}")
    return "\n".join(lines)


def _partial(done: Imported, source: Path) -> Exception:
    from likewise.errors import PartialError

    shown = list(done.refused[:SHOWN])
    more = done.n_refused - len(shown)
    if more > 0:
        counted = ", ".join(f"{times:,} {reason}" for reason, times in done.reasons.items())
        shown.append((f"and {more:,} more", counted))
    return PartialError(
        f"{source}: {done.n_refused:,} {'item was' if done.n_refused == 1 else 'items were'} not "
        "understood, everything else is in",
        shown,
        hint=f"the first thousand are listed in logs/{done.host}.tsv of the study",
    )
