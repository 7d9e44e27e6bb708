"""``likewise label``."""

from __future__ import annotations

from likewise.commands._common import funnel_text, stage_command
from likewise.funnel import Funnel
from likewise.study import Study

SHOWN = 20
"""Pictures and classes that are named; ``--json`` tells of more."""


def label_text(study: Study) -> str:
    """The funnel, and of classes: how many pictures each has, and which names need a look."""
    found = study.require("labels")
    lines = [f"{found.table}: {found.rows} rows, fingerprint {found.fingerprint}"]
    if found.funnel is not None:
        lines.insert(0, funnel_text(Funnel.from_dict(found.funnel)))
    said = found.extra
    if sizes := said.get("usable"):
        lines.append("pictures by class: " + _listed([f"{c} {n:,}" for c, n in sizes.items()]))
    if rare := said.get("rare"):
        lines.append("too few pictures: " + _listed([f"{c} {n:,}" for c, n in rare.items()]))
    for name, spellings in (said.get("merged") or {}).items():
        lines.append(f"one class: {', '.join(map(repr, spellings))} are {name}")
    if both := said.get("in_two_classes"):
        total = (found.funnel or {}).get("dropped", {}).get("in two classes", len(both))
        lines.append(f"in two classes and left out: {total:,}")
        lines += [
            f"  {picture[:12]}  {', '.join(names)}" for picture, names in [*both.items()][:SHOWN]
        ]
        if total > SHOWN:
            lines.append(f"  and {total - SHOWN:,} more")
    return "\n".join(lines)


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


command = stage_command(
    "label",
    "Label pictures good or bad, or by class: kept_posts, pictures, faces -> labels.",
    text=label_text,
)
