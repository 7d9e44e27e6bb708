"""``likewise weights``: list, fetch, verify and import pretrained files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backbones import choose
from likewise.commands._common import emit, finish, json_option
from likewise.errors import WeightsError
from likewise.weights import WEIGHTS, at_hand, find, import_file

if TYPE_CHECKING:
    from likewise.weights import WeightsFile


@click.group("weights", epilog="Example: likewise weights fetch alexnet")
def command() -> None:
    """List, fetch, verify and import network weights."""


@command.command("list", epilog="Example: likewise weights list")
@json_option
def list_(as_json: bool) -> None:
    """Every registered file: where it comes from, its license, and whether it is here."""
    rows = [_row(known) for known in WEIGHTS.values()]
    choice = choose()
    lines = [_line(row) for row in rows]
    auto = f'backbone = "auto" would run {choice.name}: {choice.reason}'
    result = {"weights": rows, "auto": choice._asdict()}
    emit(result, as_json=as_json, text="\n".join([*lines, "", auto]))


def _row(known: WeightsFile) -> dict[str, Any]:
    here = at_hand(known.name)
    return {
        "name": known.name,
        "file": known.file,
        "here": None if here is None else str(here),
        "size": known.size or None,
        "hash": known.hash,
        "license": known.license,
        "source": known.source,
        "top1": known.top1,
        "top5": known.top5,
    }


def _line(row: dict[str, Any]) -> str:
    size = f"{row['size'] / 1e6:6.1f} MB" if row["size"] else "       ? "
    accuracy = "-" if row["top1"] is None else f"{row['top1']}/{row['top5'] or '-'}"
    here = row["here"] or f"not here: {row['source']}"
    return f"{row['name']:18} {size}  {accuracy:>11}  {row['license']:22} {here}"


@command.command("fetch", epilog="Example: likewise weights fetch alexnet")
@click.argument("name")
@json_option
def fetch(name: str, as_json: bool) -> None:
    """Get NAME from its official address; an interrupted fetch is gone on with."""
    path = find(name)
    emit({"name": name, "path": str(path)}, as_json=as_json, text=f"{name}: {path}")


@command.command("verify", epilog="Example: likewise weights verify")
@click.argument("names", nargs=-1)
@json_option
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Check the hashes of the files that are here (or of NAMES)."""
    checked: dict[str, str] = {}
    bad: list[tuple[str, str]] = []
    for name in names or [name for name in WEIGHTS if at_hand(name) is not None]:
        try:
            checked[name] = str(find(name, fetch=False))
        except WeightsError as error:
            bad.append((name, str(error)))
    text = "\n".join(f"{name}: right, {path}" for name, path in checked.items())
    finish(
        {"right": checked, "wrong": dict(bad)},
        as_json=as_json,
        text=text or "no file is here",
        failed=bad,
        summary=f"{len(bad)} of {len(bad) + len(checked)} files are not right",
    )


@command.command("import", epilog="Example: likewise weights import alexnet-owt-7be5be79.pth")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--as", "name", help="Use this file for the backbone NAME although its hash is not known."
)
@json_option
def import_(file: Path, name: str | None, as_json: bool) -> None:
    """Put FILE into the cache. It is recognised by its hash, or must fit the backbone --as NAME."""
    from backbones.loading import check_fits

    found, place = import_file(file, name, fits=check_fits)
    emit({"name": found, "path": str(place)}, as_json=as_json, text=f"{found}: {place}")
