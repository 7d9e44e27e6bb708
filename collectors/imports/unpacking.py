"""Compressed tar files, which cannot be read in place: unpacked once, under limits.

Source of the rules: PEP 706 (tarfile's ``data`` filter); the limits on size are this project's.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from likewise.errors import DataError
from likewise.progress import progress

__all__ = ["is_compressed_tar", "unpack"]

MOST_BYTES = 200_000_000_000
"""Bytes that one archive may unpack to."""

MOST_RATIO = 100
"""Times its own size that an archive may unpack to: pictures hardly compress, bombs do."""

FREE_RATIO = 50_000_000
"""Archives that unpack to no more than this may be compressed as much as they like."""

MEMBERS = 5_000_000

_NAMES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_compressed_tar(source: Path) -> bool:
    """Whether a file is a compressed tar file, by its name."""
    return source.is_file() and source.name.lower().endswith(_NAMES)


def unpack(source: Path, target: Path) -> Path:
    """Unpack the plain files of ``source`` into ``target``, which appears whole or not at all.

    Raises:
        DataError: the archive is broken, names a place outside, or grows beyond the limits.
    """
    staged = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    limit = min(MOST_BYTES, max(FREE_RATIO, MOST_RATIO * source.stat().st_size))
    try:
        _extract(source, staged, min(limit, shutil.disk_usage(staged).free // 2))
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{source} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def _extract(source: Path, target: Path, limit: int) -> None:
    size = count = 0
    with progress("import: unpacking") as bar, tarfile.open(source, "r:*") as file:
        for member in file:
            count += 1
            size += member.size
            if size > limit or count > MEMBERS:
                raise DataError(
                    f"{source} unpacks to more than {limit:,} bytes or {MEMBERS:,} files: "
                    "it is not unpacked",
                    hint="if you trust it, unpack it yourself and import the folder",
                )
            if member.isfile():
                file.extract(member, target, filter="data")
            bar.advance()
