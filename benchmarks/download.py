"""Downloading beside img2dataset 1.47: same server, same run, sha256 and a decode check in both.

    python -m benchmarks.download                      # likewise alone
    python -m benchmarks.download --peer /path/to/venv # and img2dataset from that environment
    python -m benchmarks.download --memory             # peak memory, 1,000 against 100,000 rows
    python -m benchmarks.download --large              # peak memory, 64 files of 19.5 MB
    python -m benchmarks.download --duplicates         # near copies among a million hashes

Make the peer's environment with ``python -m venv VENV && VENV/bin/pip install img2dataset==1.47``.
The peer resizes and re-encodes nothing (``resize_mode=no``, ``skip_reencode``); likewise computes
a perceptual hash and writes its table besides. CPU time is that of all processes of a contestant,
from its start to its end, read by ``wait4``; the server has processes of its own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

PICTURES = 32
CALL = "from likewise.cli import main; main()"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def photograph(seed: int, target: int) -> bytes:
    """A JPEG of about ``target`` bytes whose detail is spread like a photograph's."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    side = 880 if target > 50_000 else 260
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 255, (n, n, 3), np.uint8)).resize(
                (side, side), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        / n**0.5
        for n in (4, 16, 64, 256)
    ]
    mixed = sum(layers)
    image = Image.fromarray((255 * mixed / mixed.max()).astype(np.uint8))
    low, high = 5, 98
    while low < high:
        quality = (low + high + 1) // 2
        low, high = (quality, high) if _size(image, quality) <= target else (low, quality - 1)
    return _encode(image, low)


def _encode(image: Any, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return file.getvalue()


def _size(image: Any, quality: int) -> int:
    return len(_encode(image, quality))


# -- the server ---------------------------------------------------------------------------


def serve(folder: Path, certificate: Path | None) -> None:
    """Serve ``/N`` from the files of ``folder``, on a free port of loopback; print the port."""
    import asyncio

    from aiohttp import web

    files = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]

    async def answer(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        return web.Response(body=files[number % len(files)], content_type="image/jpeg")

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{number}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def server(folder: Path, certificate: Path | None) -> Iterator[str]:
    """Address of a server that runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.download", "--serve", str(folder)]
    command += ["--certificate", str(certificate)] if certificate else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        finally:
            process.terminate()


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate for loopback, and a bundle with its authority beside the usual ones.

    The usual ones matter: reading them is what a TLS context costs.
    """
    import certifi
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certificate, bundle = folder / "server.pem", folder / "bundle.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return certificate, bundle


# -- contestants --------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What one run took: pictures, seconds of wall and of all its processes, peak MB."""

    pictures: int
    wall_s: float
    cpu_s: float
    peak_mb: float

    @property
    def per_cpu_second(self) -> float:
        """Pictures per CPU-second."""
        return self.pictures / self.cpu_s

    @property
    def per_second(self) -> float:
        """Pictures per second of wall time."""
        return self.pictures / self.wall_s


def timed(command: list[str], env: dict[str, str], log: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the process and its children, its own peak MB."""
    start, peak, pid = time.monotonic(), 0.0, 0
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=sink)
        while not pid:
            peak = max(peak, _high_water_mb(process.pid))
            time.sleep(0.05)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{log.read_text(errors='replace')[-2000:]}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, peak


def _high_water_mb(pid: int) -> float:
    """Largest resident set of a process so far, MB.

    Not ``ru_maxrss``: across fork and exec that keeps what this process, the parent, had.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def likewise(base: str, n: int, folder: Path, env: dict[str, str]) -> Run:
    """``likewise download`` of ``n`` addresses."""
    study = make_study(base, n, folder)
    took = timed([sys.executable, "-c", CALL, "download", str(study.root)], env, folder / "log")
    manifest = study.require("fetches")
    assert manifest.funnel is not None and manifest.funnel["rows_out"] == n, manifest.funnel
    return Run(n, *took)


def make_study(base: str, n: int, folder: Path) -> Any:
    """A study whose ``n`` kept posts have one picture each."""
    from likewise.config import render
    from likewise.study import Study
    from likewise.tables import KEPT_POSTS, POSTS

    root = folder / "study"
    root.mkdir()
    settings = {"allow_hosts": ["127.0.0.1"], "concurrency": 32, "per_host": 32}
    (root / "likewise.toml").write_text(render({"download": settings}), encoding="utf-8")
    study = Study.open(root)
    posts = [
        {
            "platform": "mastodon",
            "host": "127.0.0.1",
            "post_id": str(number),
            "author_id": str(number % 100),
            "collected_at": NOW,
            "likes": 1,
            "audience": 1,
            "age_days": 40.0,
            "robust_z": 0.0,
            "media": [{"index": 0, "kind": "image", "url": f"{base}/{number}"}],
        }
        for number in range(n)
    ]
    for spec in (POSTS, KEPT_POSTS):
        stage = study.begin(spec.name)
        stage.write(pa.Table.from_pylist(posts, schema=spec.schema))
        stage.publish(rows=n)
    return study


PEER = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], output_format="parquet",
             input_format="txt", resize_mode="no", skip_reencode=True, compute_hash="sha256",
             processes_count=2, thread_count=32, number_sample_per_shard=500,
             encode_format="jpg", enable_wandb=False)
"""


def img2dataset(base: str, n: int, folder: Path, env: dict[str, str], peer: Path) -> Run:
    """img2dataset over the same addresses; its successes are counted from its own table."""
    import pyarrow.dataset as ds

    addresses, script = folder / "urls.txt", folder / "peer.py"
    addresses.write_text("\n".join(f"{base}/{number}" for number in range(n)), encoding="utf-8")
    script.write_text(PEER, encoding="utf-8")
    out = folder / "out"
    command = [str(peer / "bin" / "python"), str(script), str(addresses), str(out)]
    took = timed(command, env, folder / "log")
    rows = ds.dataset(sorted(out.glob("*.parquet"))).to_table(columns=["status", "sha256"])
    done = rows.filter(pa.compute.equal(rows["status"], "success")).num_rows
    if done != n:
        print(f"img2dataset fetched {done} of {n}", file=sys.stderr)
    return Run(done, *took)


# -- tables -------------------------------------------------------------------------------


def speed(n: int, peer: Path | None) -> None:
    """The table of speeds over HTTP and HTTPS."""
    print("| Protocol | Program | Pictures | Wall s | CPU s | Pictures/CPU-s | Pictures/s |")
    print("|---|---|---|---|---|---|---|")
    verdicts = []
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        files = _files(top / "files", 100_000)
        certificate, bundle = certificates(top)
        env = dict(os.environ, SSL_CERT_FILE=str(bundle), NO_ALBUMENTATIONS_UPDATE="1")
        for protocol, pem, least in (("HTTP", None, 1.2), ("HTTPS", certificate, 8.0)):
            with server(files, pem) as base:
                ours = likewise(base, n, _fresh(top, f"ours-{protocol}"), env)
                _print_row(protocol, "likewise", ours)
                if peer is None:
                    continue
                theirs = img2dataset(base, n, _fresh(top, f"peer-{protocol}"), env, peer)
                _print_row(protocol, "img2dataset", theirs)
                verdicts.append((protocol, least, ours, theirs))
    for protocol, least, ours, theirs in verdicts:
        cpu = ours.per_cpu_second / theirs.per_cpu_second
        wall = ours.per_second / theirs.per_second
        print(
            f"\n{protocol}: {cpu:.1f} x pictures per CPU-second (target {least:g}), "
            f"{wall:.1f} x pictures per second (target 1)"
        )


def memory(small: int, large: int) -> None:
    """Peak memory of the largest process beside the number of addresses."""
    print("| Rows | Wall s | CPU s | Peak RSS MB |\n|---|---|---|---|")
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        with server(_files(top / "files", 8_000), None) as base:
            for n in (small, large):
                run = likewise(base, n, _fresh(top, f"rows-{n}"), dict(os.environ))
                peaks.append(run.peak_mb)
                print(
                    f"| {n:,} | {run.wall_s:.1f} | {run.cpu_s:.1f} | {run.peak_mb:.0f} |",
                    flush=True,
                )
    print(f"\nPeak RSS, {large:,} rows against {small:,}: {peaks[1] / peaks[0]:.2f} x (target 1.2)")


def large(n: int, size: int) -> None:
    """Peak memory of the program over ``n`` files of ``size`` bytes, 32 at once."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        files = _files(top / "files", 100_000)
        for path in sorted(files.iterdir())[1:]:
            path.unlink()
        (file,) = files.iterdir()
        # What stands behind the picture's end is kept with it, as with motion photos.
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))
        with server(files, None) as base:
            run = likewise(base, n, _fresh(top, "large"), dict(os.environ))
    print(f"{n} files of {size / 1e6:.1f} MB: {run.wall_s:.1f} s, peak RSS {run.peak_mb:.0f} MB")


def duplicates(n: int) -> None:
    """Near copies among ``n`` hashes: even ones, and ones as unevenly spread as real hashes."""
    from filters.pictures.copies import originals

    print("| Hashes | Radius | CPU s (target 60) | Copies planted | Copies found |")
    print("|---|---|---|---|---|")
    rng = np.random.default_rng(1)
    for name, codes in (("even", _even(rng, n)), ("half set", _half_set(rng, n))):
        planted = n // 20
        chosen = rng.permutation(n - planted)[:planted]
        codes[-planted:] = codes[chosen]
        for bit in (3, 40):
            codes[-planted:] ^= np.int64(1 << bit)
        for radius in (2, 4, 8):
            start = time.process_time()
            found = int((originals(codes, radius) != np.arange(n)).sum())
            took = time.process_time() - start
            print(f"| {n:,} {name} | {radius} | {took:.1f} | {planted:,} | {found:,} |", flush=True)


def _even(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(-(2**63), 2**63 - 1, n)


def _half_set(rng: np.random.Generator, n: int) -> np.ndarray:
    """Codes with half of their bits set, as a median gives them, neighbours alike."""
    out = np.zeros(n, np.int64)
    for start in range(0, n, 50_000):
        rows = min(50_000, n - start)
        values = rng.normal(size=(rows, 64)).cumsum(axis=1) * 0.5 + rng.normal(size=(rows, 64))
        bits = values > np.median(values, axis=1, keepdims=True)
        out[start : start + rows] = np.packbits(bits, axis=1).view(">i8").ravel()
    return out


def _files(folder: Path, target: int) -> Path:
    folder.mkdir()
    for number in range(PICTURES):
        (folder / f"{number:03d}.jpg").write_bytes(photograph(number, target))
    return folder


def _fresh(top: Path, name: str) -> Path:
    folder = top / name
    folder.mkdir()
    return folder


def _print_row(protocol: str, program: str, run: Run) -> None:
    print(
        f"| {protocol} | {program} | {run.pictures:,} | {run.wall_s:.1f} | {run.cpu_s:.1f} "
        f"| {run.per_cpu_second:.0f} | {run.per_second:.0f} |",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, default=os.environ.get("LIKEWISE_IMG2DATASET"))
    parser.add_argument("-n", type=int, default=2000, help="pictures of each speed run")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large memory run")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--duplicates", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--certificate", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.certificate)
    elif given.memory:
        memory(1_000, given.rows)
    elif given.large:
        large(64, 19_500_000)
    elif given.duplicates:
        duplicates(1_000_000)
    else:
        speed(given.n, Path(given.peer) if given.peer else None)


if __name__ == "__main__":
    main()
