"""``likewise score``."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from likewise.commands._common import json_option, study_argument
from likewise.commands.classify import tell_predictions
from likewise.errors import PartialError, UsageError
from likewise.study import Study
from likewise.whole import write_bytes
from training.data.question import asks_classes
from training.scoring.page import in_study, page, percent, sentence

if TYPE_CHECKING:
    from training.scoring.answers import Scored
    from training.scoring.page import Scores

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")


@click.command("score", epilog="Example: likewise score my-study holiday/*.jpg --author me")
@study_argument
@click.argument("pictures", nargs=-1, required=True, metavar="FILE...|FOLDER|-")
@click.option("--model", "models", multiple=True, help="Saved model; may be given several times.")
@click.option("--author", help="Id or handle of who will post it: shows how often they are liked.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a contact sheet."
)
@json_option
def command(
    study: str,
    pictures: tuple[str, ...],
    models: tuple[str, ...],
    author: str | None,
    as_csv: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say how well pictures would be liked that nobody has posted yet.

    Each gets a probability with its interval, or no answer when it lies far from the study's
    pictures; the nearest liked and unliked pictures; and what stands out. ``-`` reads one picture,
    or a list of paths, from standard input. A study about classes says the class of each.
    """
    from training.score import score

    opened = Study.open(study)
    if asks_classes(opened):
        if author is not None or as_csv or html is not None or len(models) > 1:
            raise UsageError(
                f"{opened.root} asks which class a picture is of: score takes files and a --model",
                hint="likewise classify predict has --csv, thresholds and promised accuracy",
            )
        from training.classification.prediction import predict

        found, notes = predict(opened, pictures, model=models[0] if models else None)
        tell_predictions(found, notes, as_json=as_json)
        return
    sources = [one for name in pictures for one in (_standard_input() if name == "-" else [name])]
    scores = score(study, sources, models=models, author=author)
    if html is not None:
        write_bytes(html, page(scores, f"Scored by {scores.study.config.study.name}").encode())
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in scores], ensure_ascii=False))
    elif as_csv:
        _write_csv(scores)
    else:
        click.echo(_table(scores))
    failed = [(row.name, row.error) for row in scores if row.error is not None]
    if failed:
        raise PartialError(f"{len(failed)} of {len(scores)} files could not be scored", failed)


def _standard_input() -> list[bytes | str]:
    data = sys.stdin.buffer.read()
    if data.startswith(SIGNATURES) or b"ftypavif" in data[:32]:
        return [data]
    return [line for line in data.decode(errors="surrogateescape").splitlines() if line.strip()]


COLUMNS = (
    "file", "model", "score", "probability", "low", "high", "abstained", "distance", "limit",
    "author_share", "stands_out", "in_study", "error",
)  # fmt: skip


def _write_csv(scores: Scores) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(COLUMNS)
    for row in scores:
        share = None if row.author is None else row.author.share
        about = [row.abstained, row.distance, row.limit, share, "; ".join(row.stands_out)]
        for one in row.opinions or [None]:
            answer = (
                [None] * 5
                if one is None
                else [one.model, one.score, one.probability, one.low, one.high]
            )
            writer.writerow([row.name, *answer, *about, row.in_study, row.error])


def _table(scores: Scores) -> str:
    lines = [f"of the study's pictures {scores.base_rate:.0%} count as liked", *scores.doubts]
    if scores.unit.scope:
        lines.append(scores.unit.scope)
    width = max(len(Path(row.name).name) for row in scores)
    for row in scores.best_first():
        lines += _lines(row, width)
    return "\n".join(lines)


def _lines(row: Scored, width: int) -> list[str]:
    name = Path(row.name).name.ljust(width)
    if row.error is not None:
        return [f"{name}  not a picture: {row.error}"]
    pad = " " * (width + 2)
    if row.abstained:
        lines = [
            f"{name}  no answer: distance {row.distance:.2f} from the nearest of the study's "
            f"pictures, 99 % of which lie within {row.limit:.2f}"
        ]
    else:
        named = len(row.opinions) > 1
        texts = [
            f"{one.model}: {sentence(one)}" if named else sentence(one) for one in row.opinions
        ]
        lines = [f"{name}  {texts[0]}", *(pad + text for text in texts[1:])]
    if row.in_study is not None:
        lines.append(pad + in_study(row.in_study))
    if row.author is not None:
        a = row.author
        lines.append(
            f"{pad}{a.author}: {a.liked} of {a.pictures} liked, {percent(a.share)} "
            f"({percent(a.low)} to {percent(a.high)})"
        )
    lines += [pad + text for text in row.stands_out]
    for words, near in (("liked", row.liked), ("unliked", row.unliked)):
        if near:
            shown = ", ".join(f"{n.picture_id[:12]} ({n.distance:.2f})" for n in near)
            lines.append(f"{pad}nearest {words}: {shown}")
    return lines
