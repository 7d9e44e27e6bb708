"""The image, built by buildah without a registry over a Debian that mmdebstrap makes, and run.

pip's configuration of this machine goes into the build as volumes, and nothing into the image.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE, TAG, BASE = "bookworm", "localhost/likewise-test", "localhost/likewise-test-base"
DRIVER = ("--storage-driver", "vfs")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        os.geteuid() != 0
        or not all(map(shutil.which, ("mmdebstrap", "buildah", "podman", "runc"))),
        reason="builds an image: needs root, mmdebstrap, buildah, podman and runc",
    ),
]


def sh(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def pip_volumes() -> list[str]:
    """pip's configuration of this machine and the folders that it names, read-only."""
    said = sh(sys.executable, "-m", "pip", "config", "debug").stdout
    files = {Path(found) for found in re.findall(r"^ *(/\S+), exists: True$", said, re.MULTILINE)}
    text = sh(sys.executable, "-m", "pip", "config", "list").stdout
    named = {Path(found) for found in re.findall(r"(?:(?<=[' ])|file://)(/[\w./-]+)", text)}
    # A certificate is a link into a folder beside it, a list of packages a folder of links.
    folders = {Path(*path.parts[:3]) for path in named if path.exists()}
    return [f"--volume={path}:{path}:ro" for path in sorted({*folders, *files})]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    made = subprocess.run(
        ["mmdebstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates",
         SUITE, archive], capture_output=True, text=True,
    )  # fmt: skip
    if not archive.is_file() or "E: unable to download" in made.stderr:
        pytest.skip(f"Debian's packages cannot be had: {made.stderr[-300:]}")
    sh("podman", *DRIVER, "import", archive, BASE)
    yield BASE
    sh("podman", *DRIVER, "rmi", "--force", BASE)


@pytest.fixture(scope="module", params=["", "all"])
def image(request: pytest.FixtureRequest, base: str) -> Iterator[str]:
    sh(
        "buildah", *DRIVER, "bud", "--isolation", "chroot", "--pull-never", "--format", "docker",
        *pip_volumes(), f"--build-arg=BASE={base}",
        f"--build-arg=EXTRAS={request.param}", "--tag", TAG, "--file", "infra/Dockerfile", ".",
        cwd=ROOT,
    )  # fmt: skip
    yield request.param
    sh("podman", *DRIVER, "rmi", "--force", TAG)


def run(*arguments: str, entrypoint: str | None = None) -> str:
    own = [] if entrypoint is None else [f"--entrypoint={entrypoint}"]
    return sh(
        "podman", *DRIVER, "--runtime", "runc", "--cgroup-manager=cgroupfs", "run", "--rm",
        "--network=none", "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024", "--tmpfs=/tmp:mode=1777",
        *own, TAG, *arguments,
    ).stdout  # fmt: skip


def test_it_runs_as_nobody_and_knows_its_verbs(image: str) -> None:
    assert run("-u", entrypoint="id").strip() == "10001"
    assert "collect" in run("--help")
    if image == "all":
        said = run(
            "-c", "python -m infra.demo --folder demo && ls -s demo/study/reports/report.html",
            entrypoint="/bin/sh",
        )  # fmt: skip
        assert int(said.split()[-2]) > 100, "the demo's report"
