"""Grad-CAM on demand, in a process of its own: it alone loads torch, and only when it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from likewise.errors import LikewiseError
from likewise.study import Study
from likewise.whole import write_bytes
from web.problems import ProblemError
from web.snapshots import Served, Snapshot

__all__ = ["Heat"]

SIDE = 512
SECONDS = 60.0


class Heat:
    """Paints heat over pictures and keeps what it has painted."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._one = asyncio.Lock()

    def stop(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def get(
        self, served: Served, snapshot: Snapshot, picture_id: str, model: str, *, liked: bool
    ) -> bytes:
        """The picture under what speaks for it (``liked``) or against it, as WebP.

        Raises:
            ProblemError: 409 when this model has no gradient or its weights are not here; 503
                when it takes too long.
        """
        sign = "for" if liked else "against"
        path = served.cache / "heat" / snapshot.id / f"{picture_id}-{model}-{sign}.webp"
        if path.is_file():
            return await asyncio.to_thread(path.read_bytes)
        async with self._one:  # one picture at a time: more would only wait for each other
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_quiet)
            work = self._pool.submit(
                _painted,
                str(served.root),
                dict(snapshot.study.versions or {}),
                picture_id,
                model,
                int(liked),
            )
            try:
                async with asyncio.timeout(SECONDS):
                    made = await asyncio.wrap_future(work)
            except (TimeoutError, BrokenProcessPool):
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None
                raise ProblemError(
                    503, "the heat map took too long", headers={"Retry-After": "5"}
                ) from None
        if isinstance(made, str):
            raise ProblemError(409, made)
        with contextlib.suppress(OSError):  # a full disk costs time, not the picture
            await asyncio.to_thread(write_bytes, path, made)
        return made


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; it ends this process


def _painted(
    root: str, versions: Mapping[str, int], picture_id: str, model: str, sign: int
) -> bytes | str:
    """The WebP file, or why there is none. Runs in the process that has torch."""
    from training.explanation.heatmaps import overlays
    from training.models.scoring import saved_model
    from training.pictures.thumbnails import encode

    study = Study.open(root, at=versions)
    try:
        scorer = saved_model(study, model)
        for _, rgb in overlays(study, scorer, {picture_id: sign}, side=SIDE):
            return encode(rgb)
    except (LikewiseError, ModuleNotFoundError) as error:
        return str(error)
    return "the picture cannot be read"
