"""``ATTRIBUTION.md``: whose pictures a data set holds, and under which licences.

Creative Commons licences ask for the title, the author, the source and the licence of each work
(wiki.creativecommons.org, Best practices for attribution). The file is made from the tables
``labels`` and ``licences`` whenever either changes, so it never names what has left the set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collectors.platforms.licences import label_of
from likewise.study import Study
from likewise.tables import POST_KEY
from likewise.whole import write_bytes

__all__ = ["NAME", "licence_counts", "write_attribution"]

NAME = "ATTRIBUTION.md"

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"})
_COLUMNS = (
    *POST_KEY,
    *("licence", "licence_version", "licence_url", "title", "creator", "creator_url"),
    *("landing_page", "source"),
)


def write_attribution(study: Study) -> Path | None:
    """Write the file, or take it away where no labelled picture has a known licence."""
    path = study.root / NAME
    rows = _works(study)
    if not rows:
        path.unlink(missing_ok=True)
        return None
    write_bytes(path, _text(study.config.study.name, rows).encode())
    return path


def licence_counts(study: Study) -> dict[str, int]:
    """Licence as people name it -> labelled pictures, the most frequent first."""
    counts = Counter(label_of(row["licence"], row["licence_version"]) for row in _works(study))
    return dict(counts.most_common())


def _works(study: Study) -> list[dict[str, Any]]:
    """One row a labelled picture with a known licence, by class and title."""
    if study.manifest("labels") is None or study.manifest("licences") is None:
        return []
    licences = study.read("licences", list(_COLUMNS)).to_pylist()
    by_post = {tuple(row[name] for name in POST_KEY): row for row in licences}
    labels = study.read("labels", ["picture_id", "class", *POST_KEY]).to_pylist()
    found = []
    for row in labels:
        told = by_post.get(tuple(row[name] for name in POST_KEY))
        if told is not None:
            found.append({**told, "class": row["class"], "picture_id": row["picture_id"]})
    return sorted(found, key=lambda r: (r["class"] or "", r["title"] or "", r["picture_id"]))


def _text(name: str, rows: list[dict[str, Any]]) -> str:
    licences = Counter(label_of(row["licence"], row["licence_version"]) for row in rows)
    sources = Counter(row["source"] or "unknown" for row in rows)
    lines = [
        f"# {_plain(name)}: whose pictures these are",
        "",
        f"{len(rows):,} pictures. Licences: {_counted(licences)}. Published by: "
        f"{_counted(sources)}.",
        "",
        "Whoever passes pictures of this set on has to pass on these lines, too. Pictures were "
        "resized where a model was trained on them; nothing else was changed.",
    ]
    last = None
    for row in rows:
        if row["class"] != last:
            last = row["class"]
            lines += ["", f"## {_plain(last)}", ""]
        lines.append(f"- {_work(row)} (`{row['picture_id'][:12]}`)")
    return "\n".join([*lines, ""])


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{_plain(name)} ({count:,})" for name, count in counts.most_common())


def _work(row: Mapping[str, Any]) -> str:
    """Title, author, source, licence."""
    name = f'"{_plain(row["title"])}"' if row["title"] else "A picture"
    title = _linked(name, row["landing_page"])
    maker = _linked(_plain(row["creator"]) or "an unnamed author", row["creator_url"])
    licence = _linked(label_of(row["licence"], row["licence_version"]), row["licence_url"])
    via = f", via {_plain(row['source'])}" if row["source"] else ""
    return f"{title} by {maker}{via}, {licence}"


def _linked(text: str, address: str | None) -> str:
    # Addresses come from strangers: a bracket or a space in one would end the link early.
    safe = (address or "").replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    return f"[{text}]({safe})" if safe else text


def _plain(text: str | None) -> str:
    """Text of a stranger on one line, with nothing in it that Markdown would take for markup."""
    return " ".join((text or "").split()).translate(_SPECIAL)
