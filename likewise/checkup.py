"""``likewise doctor``: what this machine has, what is missing and how to mend it."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yarl import URL

import backbones
from collectors import platforms
from collectors.crawling.proxies import Proxies
from collectors.tokens.store import TokenStore
from likewise.errors import LikewiseError
from likewise.extras import advice
from likewise.store import check_store
from likewise.study import Study
from likewise.weights import find
from spark_jobs.java import find_java
from spark_jobs.session import spark_session

if TYPE_CHECKING:
    from collectors.platforms.base import Platform

__all__ = ["Check", "doctor"]

LEAST_FREE_GB = 5.0
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``state`` is ``ok``, ``warning`` (works without) or ``broken``."""

    name: str
    state: str
    detail: str
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types."""
        return asdict(self)


def doctor(
    study: Study | str | os.PathLike[str] | None = None, *, start_spark: bool = False
) -> list[Check]:
    """Check this machine, and one study when it is given.

    ``start_spark`` also starts a local Spark session and runs a job in a Python worker (about
    10 s). Never raises for what it finds: every finding is a Check.
    """
    checks = [
        _guard("java", _java),
        _guard("spark", lambda: _spark(start=start_spark)),
        *(_guard(name, _module(name, module)) for name, module in _LIBRARIES),
        _guard("gpu", _gpu),
        _guard("weights", lambda: _weights(study)),
        _guard("face detector", _detector),
        _guard("tokens", _tokens),
        _guard("disk", lambda: _disk(study)),
    ]
    if study is not None:
        checks.append(_guard("study", lambda: _study(study)))
        checks.append(_guard("store", lambda: _store(study)))
        checks += _servers(study)
    return checks


def _guard(name: str, check: Callable[[], Check]) -> Check:
    """A check that cannot run is a finding, not a crash."""
    try:
        return check()
    except LikewiseError as error:
        return Check(name, "broken", str(error), error.hint or "")
    except ModuleNotFoundError as error:
        mend = advice(error.name or "")  # what an extra brings may be left out
        state = "warning" if mend else "broken"
        return Check(name, state, f"not installed: {error.name}", mend or _REINSTALL)
    except Exception as error:  # noqa: BLE001
        return Check(name, "broken", f"{type(error).__name__}: {error}", _REINSTALL)


_REINSTALL = "install the pinned packages anew: make venv"

_LIBRARIES = (
    ("torch", "torch"),
    ("onnxruntime", "onnxruntime"),
    ("dlib", "dlib"),
    ("opencv", "cv2"),
    ("scikit-learn", "sklearn"),
    ("pyarrow", "pyarrow"),
)


def _java() -> Check:
    java = find_java()
    return Check("java", "ok", f"version {java.version} from {java.origin}")


def _spark(*, start: bool) -> Check:
    import pyspark

    if not start:
        return Check("spark", "ok", f"pyspark {pyspark.__version__} (not started; --spark does)")
    session = spark_session(master="local[1]")
    counted = session.sparkContext.parallelize(range(10), 2).map(lambda n: n * n).sum()
    state = "ok" if counted == 285 else "broken"
    return Check("spark", state, f"pyspark {pyspark.__version__} ran a job in a Python worker")


def _module(name: str, module: str) -> Callable[[], Check]:
    def check() -> Check:
        found = importlib.import_module(module)
        return Check(name, "ok", str(getattr(found, "__version__", "version unknown")))

    return check


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("gpu", "ok", torch.cuda.get_device_name(0))
    cores = os.cpu_count() or 1
    return Check("gpu", "ok", f"none; ONNX Runtime runs on {cores} CPU cores")


def _weights(study: Study | str | os.PathLike[str] | None) -> Check:
    try:
        name = "auto" if study is None else Study.open(study).config.extract.backbone
    except LikewiseError:
        name = "auto"  # the check of the study itself tells what is wrong with it
    choice = backbones.choose(name)
    paper = choice.name == "alexnet"
    mend = "" if paper else "fetch the paper's network with: likewise weights fetch alexnet"
    return Check("weights", "ok" if paper else "warning", f"{choice.name}: {choice.reason}", mend)


def _store(study: Study | str | os.PathLike[str]) -> Check:
    store = Study.open(study).store
    check_store(store)
    return Check("store", "ok", f"{store.address}: of two commits at once one wins")


def _detector() -> Check:
    try:
        path = find("yunet")
    except LikewiseError:
        return Check(
            "face detector",
            "warning",
            "dlib's HOG detector; YuNet finds more faces but its model is not here",
            "likewise weights fetch yunet",
        )
    return Check("face detector", "ok", f"YuNet from {path}")


def _tokens() -> Check:
    found = TokenStore().all()
    if not found:
        return Check(
            "tokens",
            "warning",
            "none; servers that answer without one can be read, slowly",
            "likewise auth add mastodon --host https://your.server",
        )
    return Check("tokens", "ok", f"{len(found)} stored")


def _disk(study: Study | str | os.PathLike[str] | None) -> Check:
    given = study.root if isinstance(study, Study) else Path(study or ".").absolute()
    place = given if given.is_dir() else Path.cwd()
    free = shutil.disk_usage(place).free / 1e9
    if free < LEAST_FREE_GB:
        return Check(
            "disk",
            "warning",
            f"{free:.1f} GB free at {place}",
            "a study of 100,000 pictures takes 20 GB",
        )
    return Check("disk", "ok", f"{free:.0f} GB free at {place}")


def _study(study: Any) -> Check:
    opened = Study.open(study)
    if not os.access(opened.root, os.W_OK):
        return Check(
            "study", "broken", f"{opened.root} is read-only", "change its rights, or copy it"
        )
    sources = opened.config.collect.sources
    if not sources:
        return Check(
            "study",
            "warning",
            f"{opened.root}: likewise.toml names no source to collect from",
            "add a [[collect.sources]] section",
        )
    return Check("study", "ok", f"{opened.root}: {len(sources)} sources")


def _servers(study: Study | str | os.PathLike[str]) -> list[Check]:
    """One check a source: whether its server answers, and else why not."""
    try:
        sources = Study.open(study).config.collect.sources
    except LikewiseError:
        return []  # the check of the study itself tells what is wrong with it
    return [
        _guard("server", lambda: asyncio.run(_server(platforms.get(source.platform)(source))))  # noqa: B023 - called at once
        for source in sources
    ]


async def _server(platform: Platform) -> Check:
    """Ask the server once what it is, without any token and outside of any budget."""
    import aiohttp

    from collectors.crawling.unreachable import trouble

    if platform.offline:
        return Check("server", "ok", f"{platform.source.host}: files, no server")
    probe = platform.probe()
    address = platform.base + (probe.path if probe else "/")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
            session.get(
                address, allow_redirects=False, proxy=Proxies().of(URL(address))
            ) as response,
        ):
            return _answered(platform, response.status, response.headers.get("Location", ""))
    except (aiohttp.ClientError, OSError) as error:
        why = trouble(error)
        return Check("server", "broken", f"{platform.host}: {why.what}", why.mend)


def _answered(platform: Platform, status: int, location: str) -> Check:
    host = platform.host
    if status in {301, 302, 307, 308}:
        mend = f"write the address that it names as host: {location}"
        return Check("server", "warning", f"{host} has moved (HTTP {status})", mend)
    if status in {401, 403} and platform.probe() is not None:
        mend = f"likewise auth add {platform.name} --host {platform.base}"
        return Check("server", "warning", f"{host} wants a login (HTTP {status})", mend)
    if status >= 500:
        return Check("server", "warning", f"{host} has trouble (HTTP {status})", "try again later")
    return Check("server", "ok", f"{host} answers")
