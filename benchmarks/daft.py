"""``extract`` beside Daft: the same pictures, network and decoding.

Daft is no dependency. ``uv venv DIR && uv pip install --python DIR/bin/python --no-deps daft fsspec
tqdm packaging typing-extensions`` makes it a Python of its own, which this script lets see the
libraries of the one that runs it; then ``python -m benchmarks.daft --python DIR/bin/python`` prints
a Markdown table of CPU-seconds (user + system of each process and all below it), start included:
600 and 1,600 pictures from nothing, then a night of 500 new ones beside 1,600 that are done.

Both decode, prepare and run EfficientNet-Lite0 through ``backbones.inference.embed``, one thread
for the network, from the same Parquet parts; the graph is there before. So what is compared is the
rest: start, reading, handing out, writing, publishing. ``extract`` chooses its processes; Daft is
given one and two, and the cheaper one counts. ``extract`` also checks each picture's sha256, writes
with page checksums and commits; Daft does not. Daft finds what is new by an anti-join with what it
wrote before.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from benchmarks.night import grow
from likewise.config import render
from likewise.study import Study

BATCH = 128
SUBREAPER = 36
"""Of prctl(2): processes whose parent has ended become ours, so that none goes uncounted."""


def daft(folder: Path, processes: int) -> None:
    """Features of the pictures that the last call has not written, by Daft."""
    import daft as df
    from daft import DataType, col

    from spark_jobs.begin import plan_of

    study = Study.open(folder)
    plan = plan_of(study)

    @df.cls(max_concurrency=processes, use_process=True)
    class Network:
        def __init__(self) -> None:
            from backbones.engines import open_engine

            self.engine = open_engine(plan)

        @df.method.batch(
            return_dtype=DataType.list(DataType.list(DataType.float32())), batch_size=BATCH
        )
        def features(self, ids: Any, contents: Any) -> Any:
            from backbones.inference import embed

            pictures = zip(ids.to_pylist(), contents.to_pylist(), strict=True)
            found: list[Any] = []
            for batch in embed(pictures, plan, self.engine):
                [values] = batch.features.values()
                found += list(values.reshape(len(batch.ids), plan.views, -1))
            return found

    out = folder / f"daft-{processes}"
    pictures = df.read_parquet(study.parts("pictures")).select("picture_id", "bytes")
    if out.is_dir():
        done = df.read_parquet(f"{out}/**/*.parquet").select("picture_id")
        pictures = pictures.join(done, on="picture_id", how="anti")
    found = Network().features(col("picture_id"), col("bytes"))
    pictures.select("picture_id", found.alias("features")).write_parquet(str(out))


@contextlib.contextmanager
def cpu(found: list[float]) -> Iterator[None]:
    """Append the CPU-seconds of the processes that the block starts, and of all below them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def run(way: str, folder: Path, python: str) -> float:
    """CPU-seconds of one way over what is new in the folder."""
    likewise = [sys.executable, "-m", "likewise", "extract", str(folder), "--json"]
    other = [python, "-m", "benchmarks.daft", "--do", str(folder), "--processes", way[-1]]
    # Of the other Python only Daft and what it brings stand before the libraries of this one.
    site = next(one for one in sys.path if one.endswith("site-packages"))
    first = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    paths = os.pathsep.join([str(Path.cwd()), first, site])
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    quiet = {"DAFT_PROGRESS_BAR": "0", "DO_NOT_TRACK": "true", "DAFT_ANALYTICS_ENABLED": "0"}
    environment = {**os.environ, **one_thread, **quiet}
    if way != "likewise":
        environment["PYTHONPATH"] = paths
    found: list[float] = []
    with cpu(found):
        subprocess.run(
            likewise if way == "likewise" else other,
            check=True, stdout=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
    print(f"{folder.name}, {way}: {found[0]:.1f} CPU-s", file=sys.stderr, flush=True)
    return found[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--pictures", type=int, nargs=2, default=[600, 1600])
    parser.add_argument("--night", type=int, default=500)
    parser.add_argument("--do", type=Path)
    parser.add_argument("--processes", type=int)
    options = parser.parse_args()
    if options.do:
        daft(options.do, options.processes)
        return
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    few, many = options.pictures
    found: dict[str, list[float]] = {way: [] for way in ("likewise", "daft-1", "daft-2")}
    with tempfile.TemporaryDirectory(prefix="likewise-daft-") as name:
        for n in (few, many):
            folder = Path(name, str(n))
            folder.mkdir()
            text = render({"extract": {"backbone": "efficientnet-lite0"}})
            (folder / "likewise.toml").write_text(text, encoding="utf-8")
            grow(folder, 0, n, simulated=False)
            prepare = "import sys; from spark_jobs.begin import plan_of; "
            prepare += "from likewise.study import Study; plan_of(Study.open(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", prepare, str(folder)], check=True)
            for way, own in found.items():
                own.append(run(way, folder, options.python))
        grow(folder, many, options.night, simulated=False)
        for way, own in found.items():
            own.append(run(way, folder, options.python))
        rows = many + options.night
        assert Study.open(folder).read("features").num_rows == 2 * rows
        for way in ("daft-1", "daft-2"):
            assert ds.dataset(folder / way, format="parquet").count_rows() == rows
    print("| CPU-s | likewise | Daft, 1 process | Daft, 2 | likewise / cheaper Daft |")
    print("|---|---|---|---|---|")
    names = (f"{few:,} pictures", f"{many:,} pictures", f"a night of {options.night:,} new")
    for what, *costs in zip(names, *found.values(), strict=True):
        line(what, costs)
    more = [1000 * (own[1] - own[0]) / (many - few) for own in found.values()]
    line("CPU-ms for each more picture", more)


def line(what: str, costs: Sequence[float]) -> None:
    ours, *theirs = costs
    shown = " | ".join(f"{cost:.1f}" for cost in costs)
    print(f"| {what} | {shown} | {ours / min(theirs):.2f} |")


if __name__ == "__main__":
    main()
