"""Pretrained files on this machine, and the hashes that they must have.

A file is looked for in this order: one that the user imported, the cache, torch hub's cache, a
Python package that holds it. Nothing is used before its hash was checked.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from likewise.errors import WeightsError
from likewise.weights.known import WEIGHTS, WeightsFile, entry
from likewise.whole import whole_file

__all__ = [
    "at_hand",
    "cache_folder",
    "check",
    "check_cached",
    "digest",
    "import_file",
    "missing",
    "sha256_of",
]

NEEDS_NO_DOWNLOAD = "efficientnet-lite0"

Fits = Callable[[Path, str], None]
"""Raises WeightsError when a file does not fit the architecture of a name."""


def cache_folder() -> Path:
    """Where fetched and imported files lie: ``$LIKEWISE_WEIGHTS`` or the user's cache folder."""
    given = os.environ.get("LIKEWISE_WEIGHTS")
    return Path(given) if given else user_cache_path("likewise") / "weights"


def check_cached(known: WeightsFile, path: Path) -> None:
    """Raise WeightsError unless a file that ``at_hand`` gave is what it was said to be."""
    imported = _imported(known.name)
    if imported is None or imported[0] != path:
        check(path, known)
    elif sha256_of(path) != imported[1]:
        raise WeightsError(
            f"{path} has changed since it was imported: sha256 is {sha256_of(path)}",
            hint=f"import it again: likewise weights import FILE --as {known.name}",
        )


def at_hand(name: str) -> Path | None:
    """Path of the file if it is on this machine (its hash is not checked), else None."""
    known = entry(name)
    imported = _imported(name)
    if imported is not None:
        return imported[0]
    places = [cache_folder() / known.file, _torch_hub() / known.file, _in_package(known)]
    return next((place for place in places if place is not None and place.is_file()), None)


def _torch_hub() -> Path:
    home = os.environ.get("TORCH_HOME") or str(Path.home() / ".cache" / "torch")
    return Path(home) / "hub" / "checkpoints"


def _in_package(known: WeightsFile) -> Path | None:
    if known.package is None:
        return None
    module, _, below = known.package[1].partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / below


def missing(known: WeightsFile, reason: str = "") -> WeightsError:
    """The error for a file that is nowhere."""
    because = f" ({reason})" if reason else ""
    return WeightsError(
        f"the weights of {known.name} ({known.file}) are not on this machine{because}",
        hint=f"get {known.file}: {known.source}; then run: likewise weights import {known.file} "
        f"(or put it into {cache_folder()}). "
        f"The backbone {NEEDS_NO_DOWNLOAD} needs no download",
    )


def check(path: Path, known: WeightsFile) -> None:
    """Raise WeightsError unless the file's size and hash are the registered ones."""
    size = path.stat().st_size
    if known.size and size != known.size:
        raise WeightsError(
            f"{path}: {size:,} bytes, expected {known.size:,} for {known.name}: "
            f"{'truncated' if size < known.size else 'not that file'}",
            hint=f"delete it and get it again: {known.source}",
        )
    kind, _, expected = known.hash.partition(":")
    found = digest(path, kind)
    if not found.startswith(expected):
        raise WeightsError(
            f"{path}: {kind} is {found}, expected {expected} for {known.name}",
            hint=f"delete it and get it again: {known.source}",
        )


def digest(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file; remembered while the file does not change."""
    stat = path.stat()
    return _digest(str(path), kind, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: str, kind: str, size: int, mtime: int) -> str:  # noqa: ARG001 - the cache's key
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of a file, hexadecimal: what goes into fingerprints."""
    return digest(path, "sha256")


def import_file(path: Path, name: str | None = None, *, fits: Fits) -> tuple[str, Path]:
    """Copy a file into the cache and return its (name, place).

    A registered file is recognised by its hash. Any other file needs ``name``: it is accepted
    when it fits that backbone's architecture, and is used for it from then on.

    Raises:
        WeightsError: the file is missing, not recognised, or does not fit the architecture.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    known = _recognise(path)
    if known is not None and name in (None, known.name):
        return known.name, _copy(path, cache_folder() / known.file)
    if name is None:
        raise WeightsError(
            f"{path} (sha256 {sha256_of(path)}) is none of the registered files",
            hint="to use it all the same, name it: likewise weights import FILE --as NAME",
        )
    return name, _import_as(path, entry(name), fits)


def _recognise(path: Path) -> WeightsFile | None:
    for known in WEIGHTS.values():
        kind, _, expected = known.hash.partition(":")
        if known.size in (0, path.stat().st_size) and digest(path, kind).startswith(expected):
            return known
    return None


def _import_as(path: Path, known: WeightsFile, fits: Fits) -> Path:
    fits(path, known.name)
    sha256 = sha256_of(path)
    place = _copy(path, cache_folder() / f"{known.name}-{sha256[:8]}{path.suffix}")
    note = {"file": place.name, "sha256": sha256, "from": path.name}
    _note(known.name).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return place


def _note(name: str) -> Path:
    return cache_folder() / f"{name}.imported.json"


def _imported(name: str) -> tuple[Path, str] | None:
    """Place and sha256 of the user's own file for ``name``."""
    try:
        note = json.loads(_note(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{_note(name)} is damaged: {error}", hint="delete it") from error
    place = cache_folder() / note["file"]
    return (place, note["sha256"]) if place.is_file() else None


def _copy(source: Path, target: Path) -> Path:
    with whole_file(target) as staged:
        shutil.copyfile(source, staged)
    return target
