"""``make demo``: one real run from platform to report, on a synthetic world of this machine.

The world and the study live in ``demo/``. The sandbox platform runs in a thread of this process, so
whatever ends this process ends it too; started again, the demo goes on with the same world at the
same address and skips what is done.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import backbones
import likewise
from likewise import weights
from likewise.cli import guarded
from likewise.commands.status import show
from likewise.errors import LikewiseError, PartialError, StudyError
from likewise.progress import note
from likewise.study import Study, write_json
from likewise.weights import fetch_file

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent

PORT = 27182

TAG = "photo"
"""The hashtag that every post of the sandbox carries."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    options = _options(arguments)
    return guarded(lambda: _demo(options))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "demo", help="default: demo/")
    parser.add_argument("--authors", type=int, default=600)
    parser.add_argument("--posts", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strength", type=float, default=1.0, help="planted appeal; 0 is none")
    parser.add_argument("--pictures", type=Path, help="folder of your own photographs")
    return parser.parse_args(arguments)


def _demo(options: argparse.Namespace) -> None:
    started = time.monotonic()
    settings = _settings(options)
    with _sandbox(settings) as url:
        study = _study(options.folder, url)
        with study.lock():
            failed = _run(study)
    _show(study, failed, time.monotonic() - started)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the world is made of: written down at the first start, read back at the next."""
    path: Path = options.folder / "world.json"
    if path.is_file():
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return settings
    pictures = None if options.pictures is None else str(options.pictures.absolute())
    settings = {
        "seed": options.seed,
        "authors": options.authors,
        "posts": options.posts,
        "strength": options.strength,
        "pictures": pictures,
        "epoch": _monday(dt.datetime.now(dt.UTC).date()).isoformat(),
        "port": _free_port(),
    }
    write_json(path, settings)
    return settings


def _monday(day: dt.date) -> dt.date:
    """The last Monday: weekdays are features, so that worlds may differ by whole weeks only."""
    return day - dt.timedelta(days=day.weekday())


def _free_port() -> int:
    """``PORT`` where it is free: authors' keys, and so the folds, hold the server's address."""
    for port in (PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise StudyError("no port of 127.0.0.1 can be opened", hint="see what the firewall forbids")


@contextlib.contextmanager
def _sandbox(settings: dict[str, Any]) -> Iterator[str]:
    """The sandbox platform on its port, while the block runs; yields its address."""
    from infra.sandbox import Law, World, WorldSpec, running

    spec = WorldSpec(
        seed=settings["seed"],
        authors=settings["authors"],
        posts=settings["posts"],
        epoch=dt.date.fromisoformat(settings["epoch"]),
        law=Law(strength=settings["strength"]),
        pictures=Path(settings["pictures"]) if settings["pictures"] else None,
    )
    world = World(spec)
    note(f"synthetic world: {spec.authors} authors, {spec.posts} posts, seed {spec.seed}")
    note(world.law.describe())
    for name in ("NO_PROXY", "no_proxy"):  # the sandbox is on this machine, whatever the way out
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
    try:
        with running(world, port=settings["port"]) as server:
            yield server.url
    except OSError as error:
        if error.errno is None or "address" not in str(error):
            raise
        raise StudyError(
            f"port {settings['port']} of this demo is taken by another program",
            hint="stop that program, or start over with: rm -rf demo",
        ) from error


def _study(folder: Path, url: str) -> Study:
    """The demo's study: opened, or made with the backbone that this machine can have."""
    root = folder / "study"
    if (root / "likewise.toml").is_file():
        return Study.open(root)
    source = {
        "platform": "mastodon",
        "host": url,
        "tags": [TAG],
        "permission": "synthetic world on this machine: nobody real is described",
    }
    return likewise.init(
        root,
        values={
            "study": {"name": "Demo: a synthetic world"},
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"]},
            "extract": {"backbone": _backbone()},
        },
    )


def _backbone() -> str:
    """AlexNet when its weights are here or can be fetched, else what comes with pip."""
    if not weights.at_hand("alexnet"):
        try:
            fetch_file(weights.entry("alexnet"))
        except LikewiseError as error:
            note(f"AlexNet's weights cannot be fetched: {error}")
    choice = backbones.choose("auto")
    note(f"backbone: {choice.name}: {choice.reason}")
    return choice.name


def _run(study: Study) -> list[tuple[str, str]]:
    """All stages. The world holds broken pictures on purpose: their failures are expected."""
    try:
        likewise.run(study)
    except PartialError as error:
        if study.manifest("scores") is None:
            raise
        return error.failures
    return []


def _show(study: Study, failed: list[tuple[str, str]], seconds: float) -> None:
    from training.compare import comparison_text

    show(likewise.status(study))
    print(comparison_text(study))
    if failed:
        print(f"{len(failed)} pictures of the synthetic world are broken on purpose:")
        for item, reason in failed[:3]:
            print(f"  {item}: {reason}")
    report = study.root / "reports" / "report.html"
    print(f"\nDone in {seconds:.0f} s. The report: {report}")
    print(f"Open it with: python3 -m webbrowser file://{report}")


if __name__ == "__main__":
    sys.exit(main())
