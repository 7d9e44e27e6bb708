"""``likewise download``."""

from __future__ import annotations

from typing import Any

import click

from likewise.commands._common import json_option, manifest_result, study_argument


@click.command("download", epilog="Example: likewise download --retry failed my-study")
@study_argument
@click.option(
    "--retry",
    type=click.Choice(["failed", "timeouts", "damaged", "all"]),
    help="Ask again for rows that failed, that took too long, whose stored bytes have changed, or "
    "all without a picture.",
)
@click.option(
    "--engine",
    type=click.Choice(["asyncio", "spark"]),
    default="asyncio",
    show_default=True,
    help="Fetch from this process, or from the executors of a Spark cluster.",
)
@json_option
def command(study: str, retry: Any, engine: Any, as_json: bool) -> None:
    """Fetch the pictures of the kept posts: kept_posts -> fetches, pictures.

    Exit code 3 tells that some pictures failed; they are listed, and everything else is published.
    """
    from likewise.study import Study

    opened = Study.open(study)
    if engine == "spark":
        from spark_jobs.download import download as download_on_spark

        manifest = download_on_spark(opened, retry=retry)
    else:
        from collectors.download import download

        manifest = download(opened, retry=retry)
    manifest_result(manifest, as_json=as_json)
