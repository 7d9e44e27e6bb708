"""``likewise sandbox``."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from likewise.errors import UsageError

if TYPE_CHECKING:
    from infra.sandbox import Faults, Limiter, World

share = click.FloatRange(0, 1)
positive = click.FloatRange(0, min_open=True)


@click.command(
    "sandbox", epilog="Example: likewise sandbox --port 8480 --authors 600 --posts 1500 --seed 1"
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--authors", default=600, show_default=True, type=click.IntRange(1))
@click.option("--posts", default=1500, show_default=True, type=click.IntRange(0))
@click.option(
    "--epoch",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day from which ages count back; default is today (UTC).",
)
@click.option("--strength", default=1.0, show_default=True, help="Of the pictures' appeal.")
@click.option("--habit", default=0.8, show_default=True, help="SD of the authors' habits.")
@click.option("--noise", default=0.4, show_default=True, help="SD of the posts' luck.")
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs to build the pictures from.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8480, show_default=True, help="0 takes any free port.")
@click.option("--limits-factor", default=1.0, show_default=True, type=positive,
              help="Multiplies Mastodon's rate limits.")  # fmt: skip
@click.option("--period-factor", default=1.0, show_default=True, type=positive,
              help="Multiplies their windows.")  # fmt: skip
@click.option("--no-limits", is_flag=True, help="Neither count nor refuse.")
@click.option("--latency", default=0.0, type=click.FloatRange(0), help="Of each answer, seconds.")
@click.option("--jitter", default=0.0, type=click.FloatRange(0), help="Random part, seconds.")
@click.option("--errors", default=0.0, type=share, help="Share of 5xx answers.")
@click.option("--resets", default=0.0, type=share, help="Share of reset connections.")
@click.option("--truncated", default=0.0, type=share, help="Share of cut bodies.")
@click.option("--drips", default=0.0, type=share, help="Share of slowly dripping bodies.")
@click.option("--expire-after", default=0, help="Calls after which a token expires; 0 is never.")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path),
              help="Folder that keeps rendered pictures.")  # fmt: skip
@click.option("--search", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Serve FOLDER/KEYWORD/*.jpg as Openverse and Commons would.")  # fmt: skip
@click.option("--describe", is_flag=True, help="Print the world and its law, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready.")
def command(**options: Any) -> None:
    """Serve a synthetic world in the dialect of Mastodon, to collect from.

    Nothing in it is real. Likes follow a stated law, so what a study finds can be held against
    what was planted. The server runs until it is stopped (Ctrl-C or SIGTERM).
    """
    if options["search"] is not None:
        _serve_search(options)
        return
    world = _world(options)
    if options["describe"]:
        _say(world, None, as_json=options["as_json"])
        return
    asyncio.run(_serve(world, options))


def _world(options: dict[str, Any]) -> World:
    from infra.sandbox import Law, World, WorldSpec

    epoch = options["epoch"]
    return World(
        WorldSpec(
            seed=options["seed"],
            authors=options["authors"],
            posts=options["posts"],
            epoch=epoch.date() if epoch else dt.datetime.now(dt.UTC).date(),
            law=Law(
                strength=options["strength"],
                habit_sd=options["habit"],
                noise_sd=options["noise"],
            ),
            pictures=options["pictures"],
        )
    )


def _faults(options: dict[str, Any]) -> Faults:
    from infra.sandbox import Faults

    return Faults(
        latency_s=options["latency"],
        jitter_s=options["jitter"],
        errors=options["errors"],
        resets=options["resets"],
        truncated=options["truncated"],
        drips=options["drips"],
        expire_after=options["expire_after"],
        seed=options["seed"],
    )


def _limiter(options: dict[str, Any]) -> Limiter:
    from infra.sandbox import Limiter
    from infra.sandbox.limits import REGISTRATIONS, RULES

    return Limiter(
        rules=(*RULES, REGISTRATIONS),
        limits_factor=options["limits_factor"],
        period_factor=options["period_factor"],
        enabled=not options["no_limits"],
    )


async def _serve(world: World, options: dict[str, Any]) -> None:
    import signal

    from infra.sandbox import Sandbox
    from infra.sandbox.media import MediaStore

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = Sandbox(
        world,
        faults=_faults(options),
        limiter=_limiter(options),
        media=MediaStore(world, folder=options["cache"]),
        host=options["host"],
        port=options["port"],
    )
    try:
        await server.start()
    except OSError as error:
        raise UsageError(
            f"cannot listen on {options['host']} port {options['port']}: {error.strerror}",
            hint="choose another with --port; --port 0 takes any free one",
        ) from error
    try:
        _say(world, server.url, as_json=options["as_json"])
        await stop.wait()
    finally:
        await server.stop()


def _serve_search(options: dict[str, Any]) -> None:
    import signal
    import threading

    from infra.sandbox.search import searching

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    factor = 0.0 if options["no_limits"] else options["limits_factor"]
    with searching(
        options["search"],
        port=options["port"],
        limits_factor=factor,
        period_factor=options["period_factor"],
        latency_s=options["latency"],
    ) as services:
        sources = dict.fromkeys(("openverse", "commons"), services.url)
        keywords = sorted({work.keyword for work in services.works})
        if options["as_json"]:
            click.echo(json.dumps({"sources": sources, "keywords": keywords}))
        else:
            click.echo(f"searches for {', '.join(keywords)}")
            click.echo(" ".join(f"--source {name}={url}" for name, url in sources.items()))
        stop.wait()


def _say(world: World, url: str | None, *, as_json: bool) -> None:
    from infra.sandbox import TAGS

    if as_json:
        facts = {
            "url": url,
            "world": "synthetic world",
            "seed": world.spec.seed,
            "epoch": world.spec.epoch.isoformat(),
            "authors": world.spec.authors,
            "posts": world.spec.posts,
            "tags": TAGS,
            "law": world.law.describe(),
            "strength": world.law.strength,
        }
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(world.describe())
    if url is not None:
        click.echo(f"listening at {url}; tags: {', '.join(TAGS)}; stop with Ctrl-C")
