"""Small studies with pictures and labels, made without the stages before."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fetched_rows import publish_fetched
from PIL import Image

from likewise.config import render
from likewise.study import Study
from likewise.tables import LABELS, bucket_of, media_key

BUCKETS = 4


def jpeg(seed: int, width: int = 320, height: int = 240, **save: Any) -> bytes:
    """A smooth picture with some structure, different for every seed, as a JPEG."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, **save})
    return file.getvalue()


@pytest.fixture(scope="session")
def make_jpeg() -> Callable[..., bytes]:
    return jpeg


@pytest.fixture(autouse=True, scope="session")
def _own_exports(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No test writes into the user's caches; exports are shared by the tests of one run."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LIKEWISE_EXPORTS", str(tmp_path_factory.mktemp("exports")))
    yield
    patch.undo()


def _picture_row(index: int, content: bytes, buckets: int) -> dict[str, Any]:
    bucket = bucket_of(media_key("mastodon", "a.example", str(index), 0), buckets)
    return {
        "platform": "mastodon",
        "host": "a.example",
        "post_id": str(index),
        "media_index": 0,
        "author_id": str(index % 7),
        "bucket": bucket,
        "url": f"https://a.example/{index}.jpg",
        "picture_id": hashlib.sha256(content).hexdigest(),
        "bytes": content,
        "n_bytes": len(content),
        "format": "jpeg",
        "status": "ok",
        "attempts": 1,
    }


def _label_row(picture: dict[str, Any]) -> dict[str, Any]:
    names = ("picture_id", "platform", "host", "post_id", "media_index", "bucket", "author_id")
    return {name: picture[name] for name in names} | {
        "likes": 3,
        "audience": 30,
        "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "age_days": 90.0,
        "ratio": 0.1,
        "label": int(picture["post_id"]) % 2,
        "weight": 1.0,
        "fold": 0,
        "split": "train",
    }


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """make_study(contents, skip=(), **extract): a study whose posts 0, 1, ... have these files.

    Posts of ``skip`` have a picture but no label; ``extract`` is the section of likewise.toml.
    """

    def make(
        contents: Sequence[bytes],
        *,
        name: str = "study",
        skip: Sequence[int] = (),
        row_group_size: int = 5,
        buckets: int = BUCKETS,
        **extract: Any,
    ) -> Study:
        root = tmp_path / name
        root.mkdir()
        settings = {"download": {"buckets": buckets}, "extract": extract}
        (root / "likewise.toml").write_text(render(settings), encoding="utf-8")
        study = Study.open(root)
        rows = [_picture_row(i, content, buckets) for i, content in enumerate(contents)]
        publish_fetched(study, rows, parts=buckets, row_group_size=row_group_size)
        labels = [_label_row(row) for i, row in enumerate(rows) if i not in skip]
        study.begin("labels").write(pa.Table.from_pylist(labels, LABELS.schema))
        study.begin("labels").publish()
        return study

    return make
