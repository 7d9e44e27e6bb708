"""Pretrained files: the registry, the cache with its hashes, and their official addresses.

Networks and face detectors take their files from here; nothing of torch or ONNX is known here.
"""

from likewise.weights.cache import (
    at_hand,
    cache_folder,
    check,
    digest,
    import_file,
    sha256_of,
)
from likewise.weights.fetching import fetch_file, find
from likewise.weights.known import WEIGHTS, WeightsFile, entry

__all__ = [
    "WEIGHTS",
    "WeightsFile",
    "at_hand",
    "cache_folder",
    "check",
    "digest",
    "entry",
    "fetch_file",
    "find",
    "import_file",
    "sha256_of",
]
