"""The map as a page: one HTML file and its atlases, which open without a server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from likewise.whole import fingerprint, write_bytes
from training.maps.atlas import layout, write_atlases
from training.maps.projection import Quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["map_content", "write_map"]


def write_map(
    path: Path,
    title: str,
    picture_ids: Sequence[str],
    places: NDArray[np.float32],
    labels: Sequence[str | None],
    pictures: Iterable[tuple[int, NDArray[np.uint8]]],
    trust: Quality | None,
) -> int:
    """Write ``path`` and, beside it, the folder ``STEM-files`` of its atlases.

    Args:
        path: an ``.html`` file; it is written last, so that what it needs is there.
        title: heading of the page.
        picture_ids: (n,) ids, which the downloaded labels name.
        places: (n, 2) from ``lay_out``.
        labels: (n,) class names, None where there is none.
        pictures: (number, RGB) of the pictures that can be shown, in any order.
        trust: what ``quality`` said; None for too few pictures.

    Returns:
        How many pictures could not be shown.
    """
    folder = path.with_name(f"{path.stem}-files")
    content, missing = map_content(folder, picture_ids, places, labels, pictures)
    # "<" could end the script element from within a class name.
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    own = files("training.maps") / "page"
    script = (own / "map.js").read_text(encoding="utf-8")
    style = (own / "map.css").read_text(encoding="utf-8")
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("training.maps", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = templates.get_template("map.html").render(
        title=title,
        n=len(picture_ids),
        trusted=trust is not None and trust.trusted,
        sentence="Too few pictures to say how far this map can be trusted."
        if trust is None
        else trust.sentence,
        missing=missing,
        # These three are made here and escaped above.
        data=Markup(data),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style=Markup(style),  # noqa: S704
        script_hash=f"sha256-{digest}",
    )
    write_bytes(path, page.encode())
    return missing


def map_content(
    folder: Path,
    picture_ids: Sequence[str],
    places: NDArray[np.float32],
    labels: Sequence[str | None],
    pictures: Iterable[tuple[int, NDArray[np.uint8]]],
) -> tuple[dict[str, Any], int]:
    """Write the atlases into ``folder``; what the page's script reads, and how many are missing.

    Arguments are those of ``write_map``.
    """
    plan = layout(len(picture_ids))
    missing = write_atlases(folder, pictures, plan)
    names = sorted({label for label in labels if label is not None})
    number = {name: at for at, name in enumerate(names)}
    content = {
        "places": base64.b64encode(np.ascontiguousarray(places, "<f4").tobytes()).decode(),
        "ids": list(picture_ids),
        "labels": [-1 if label is None else number[label] for label in labels],
        "names": names,
        "folder": f"{folder.name}/",
        "side": plan.side,
        "across": plan.across,
        "each": plan.each,
        "atlases": plan.atlases,
        # Labels that a person gave in the browser are kept for this map and no other.
        "fingerprint": fingerprint({"ids": list(picture_ids), "labels": list(labels)}),
    }
    return content, missing
