"""``likewise export``."""

from __future__ import annotations

from pathlib import Path

import click

from likewise.commands._common import emit, json_option, study_argument
from training.export import export
from training.exporting.view import Filters


@click.command("export", epilog="Example: likewise export my-study everything -o all.xlsx")
@study_argument
@click.argument("what", default="everything", metavar="WHAT")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path),
    help="File; its ending is the format: .csv, .xlsx, .jsonl, .parquet, .duckdb.",
)  # fmt: skip
@click.option("--as", "shape", help="Pictures as a folder: imagefolder, img2dataset, fiftyone, "
              "cleanvision.")  # fmt: skip
@click.option("--tag", help="Posts with this hashtag only.")
@click.option("--author", help="Posts of this author only, by id or handle.")
@click.option("--since", metavar="DAY", help="Posts made on that day or later.")
@click.option("--until", metavar="DAY", help="Posts made before that day.")
@click.option("--where", metavar="SQL", help='A condition, e.g. "likes > 10 AND n_faces = 1".')
@json_option
def command(
    study: str, what: str, output: Path, shape: str | None, as_json: bool, **said: str | None
) -> None:
    """Write WHAT to a file: posts, authors, pictures, labels, scores, reviews or everything.

    Everything is one row a picture with all that is known of it. A data card goes along.
    """
    done = export(study, what, output, shape=shape, filters=Filters(**said))
    about = {
        "path": str(done.path),
        "card": str(done.card),
        "rows": done.rows,
        "notes": list(done.notes),
    }
    text = "\n".join([f"{done.rows:,} rows in {done.path}", *done.notes, f"card: {done.card}"])
    emit(about, as_json=as_json, text=text)
